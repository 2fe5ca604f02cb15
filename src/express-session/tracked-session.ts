import { privateField } from '../http/exchange/private-field';
import type { ChangedEntries } from '../store/session-entries';
import type { SessionEntries } from '../store/store';
import { Session, type SessionRequest } from './peer';
import type { SessionIdentity } from './session-identity';

/** The stored content of a session, as last read or written by its request. */
export interface StoredContent {
  readonly identity: SessionIdentity;
  entries: SessionEntries;
  ttlMs: number;
  /** `false` once it turned out to have ended. */
  isLive: boolean;
  /**
   * What other requests had changed when this one ended the session, for the session that takes its place. Kept for a
   * second try at that; left out before.
   */
  changesByOthers?: ChangedEntries;
}

export interface TrackedSession {
  /** The sessions of the store that it belongs to. */
  readonly owner: object;
  /** The id that `get` was called with, or that the request's session began with. */
  readonly foundBy: string;
  /** The identity that the next save stores. Changes at once when the application signs a user in or out. */
  identity: SessionIdentity;
  /** The stored content; `null` for a new session. */
  stored: StoredContent | null;
  /** The identity that could not be stored, and why; `null` for none. */
  failure: { identity: SessionIdentity; error: unknown } | null;
  /** The save in progress. Saves of one session run one after the other. */
  queue: Promise<unknown>;
}

/** The state of each session object, and of content that `get` returned. */
export const tracked = privateField<TrackedSession>();

export function newTrack(
  owner: object,
  identity: SessionIdentity,
  stored: StoredContent | null,
  foundBy = identity.id,
): TrackedSession {
  return { owner, foundBy, identity, stored, failure: null, queue: Promise.resolve() };
}

/**
 * The prototype of session objects: their `id` follows the identity, and they are read again after the saves that have
 * begun, which may give them another id. V8 is slow with a getter on each of them.
 */
const PROTOTYPE: object = Object.create(Session.prototype, {
  id: {
    get(this: { readonly req?: SessionRequest }) {
      // An application may have wrapped the session: that shows only `req`.
      return tracked.get(this)?.identity.id ?? this.req?.sessionID;
    },
  },
  reload: {
    configurable: true,
    writable: true,
    value<This extends object>(this: This, callback: (error?: unknown) => void): This {
      const saved = tracked.get(this)?.queue ?? Promise.resolve();
      // Outside of the promise: a wrapped store may call back at once, and the callback may throw.
      const done = (error?: unknown) => process.nextTick(callback, error);
      saved.then(() => Session.prototype.reload.call(this, done)).catch(done);
      return this;
    },
  },
});

/** Gives a request a copy of express-session's session object. The `id` of the original can't be changed. */
export function placeSession(
  request: SessionRequest,
  original: object,
  owner: object,
  identity: SessionIdentity,
  stored: StoredContent | null,
): object {
  const session: object = Object.create(PROTOTYPE);
  const known = newTrack(owner, identity, stored);
  tracked.add(session, known);
  Object.defineProperty(session, 'req', { value: request });
  Object.assign(session, original);
  // express-session drops keys with the names of its own members. Their absence must not count as a deletion.
  if (stored !== null) {
    const entries = [...stored.entries].filter(([key]) => Object.prototype.propertyIsEnumerable.call(session, key));
    known.stored = { ...stored, entries: new Map(entries) };
  }
  request.session = session;
  return session;
}

import type { SessionEntries } from '../store/store';
import { Session, type SessionRequest } from './peer';
import type { SessionIdentity } from './session-identity';

/** What the store holds of a session, as its request knows it. */
export interface StoredContent {
  readonly identity: SessionIdentity;
  entries: SessionEntries;
  ttlMs: number;
  /** `false` once it turned out to have ended. */
  isLive: boolean;
}

/** What is known of a session object that a request has. */
export interface TrackedSession {
  /** Which session it is to be. Changes at once when the application signs a user in or out. */
  identity: SessionIdentity;
  /** What is stored of it; `null` for a new one. */
  stored: StoredContent | null;
  /** What it was to be, and could not become. */
  failure: { identity: SessionIdentity; error: unknown } | null;
  /** The user who may not sign in. */
  refusedUserId: string | null;
  /** The save that goes on: the saves of one session go one after the other. */
  queue: Promise<unknown>;
}

const tracked = new WeakMap<object, TrackedSession>();

/** What is known of a session object, or of what `get` gave of one; `undefined` for any other object. */
export function trackOf(session: object): TrackedSession | undefined {
  return tracked.get(session);
}

/** Remembers what is known of an object. */
export function track(session: object, identity: SessionIdentity, stored: StoredContent | null): TrackedSession {
  const known = { identity, stored, failure: null, refusedUserId: null, queue: Promise.resolve() };
  tracked.set(session, known);
  return known;
}

/**
 * Puts a session on a request that is a copy of express-session's own but for its id: that follows the identity, where
 * express-session's can't be changed.
 */
export function placeSession(
  request: SessionRequest,
  original: object,
  identity: SessionIdentity,
  stored: StoredContent | null,
): object {
  const session: object = Object.create(Session.prototype);
  const known = track(session, identity, stored);
  Object.defineProperty(session, 'req', { value: request });
  Object.defineProperty(session, 'id', { get: () => known.identity.id });
  Object.assign(session, original);
  // A name that express-session needs itself is no key of the session, and so none that the application has deleted.
  if (stored !== null) {
    const entries = [...stored.entries].filter(([key]) => Object.hasOwn(session, key));
    known.stored = { ...stored, entries: new Map(entries) };
  }
  request.session = session;
  return session;
}

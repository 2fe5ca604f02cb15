import { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import { checkFunction, shown } from '../errors/arguments';
import type { SessionError } from '../errors/session-error';
import type { SessionAttributes } from '../store/store';

/** The events of one manager, in this process. No event holds a token. */
export interface SessionEvents {
  /** A user signed in; or `actor` signed in to act as that user. */
  login: { userId: string; sessionId: string; attributes: SessionAttributes; actor?: string };
  /** A holder of the token ended its session. */
  logout: { userId: string; sessionId: string };
  /** The login of session `by` replaced this session: over a limit, or in the same browser, also another user's. */
  replaced: { userId: string; sessionId: string; by: string };
  /** The application ended this session: a kick, "log out everywhere", or its user is gone. */
  revoked: { userId: string; sessionId: string; message?: string };
  /** A token of an expired session was used. */
  'expired-on-use': { userId: string; sessionId: string };
  /** A ban ended these sessions of a user. `until` is `null` for a ban without an end. */
  banned: { userId: string; sessionIds: string[]; until: Date | null; reason?: string };
  /** A session got a new token: by a rotation, a re-authentication, or the option `rotateEvery`. */
  rotated: { userId: string; sessionId: string };
  /**
   * A former token was used after its grace: two clients hold tokens of the session, and one may be a thief. `ended`:
   * whether that ended the session, by the option `onReuse`.
   */
  reused: { userId: string; sessionId: string; ended: boolean };
  /**
   * The near cache answered for a session, and sliding it in the store failed later. The request went on; the next one
   * asks the store.
   */
  'slide-failed': { userId: string; sessionId: string; error: unknown };
  /**
   * express-session saved a session that had ended meanwhile: the store wrote nothing. Or a session took the place of a
   * visitor's, and the store failed when it had to take over what another request had just written. `userId` is `null`
   * for a visitor's session.
   */
  'save-dropped': { userId: string | null; sessionId: string };
  /**
   * A call to the store failed. Emitted once, until `store-up`. A Redis that refuses some calls only, such as logins
   * when it is full, makes the two events alternate. Not for calls after `close()`.
   */
  'store-down': { error: SessionError };
  /** The store answered a call, and none has failed for a second. A process without requests emits it at the next. */
  'store-up': Record<string, never>;
  /**
   * The near cache may miss changes to some users, or to all; `error.cause` says why. It drops their sessions, and the
   * manager asks the store.
   */
  'cache-down': { error: SessionError };
  /** The near cache gets all changes again. */
  'cache-up': Record<string, never>;
  /**
   * The end of a watched session may be noticed late: announcements may be missed, and the manager asks for each
   * session every five seconds. `error.cause` says why. While the store can't answer either, signals wait for it.
   */
  'watch-down': { error: SessionError };
  /**
   * The manager could not find out whether watched sessions of a user have ended, for another reason than an outage: a
   * damaged record, or one of a later version. It asks again after five seconds, and the signals wait.
   */
  'watch-failed': { sessionIds: string[]; error: unknown };
  /** The ends of watched sessions arrive again. The manager asks for all watched sessions once more. */
  'watch-up': Record<string, never>;
}

const NAMES: Record<keyof SessionEvents, true> = {
  login: true,
  logout: true,
  replaced: true,
  revoked: true,
  'expired-on-use': true,
  banned: true,
  rotated: true,
  reused: true,
  'slide-failed': true,
  'save-dropped': true,
  'store-down': true,
  'store-up': true,
  'cache-down': true,
  'cache-up': true,
  'watch-down': true,
  'watch-up': true,
  'watch-failed': true,
};
export const EVENT_NAMES = Object.keys(NAMES) as (keyof SessionEvents)[];

/** A listener of an event of {@link SessionEvents}. */
export type SessionListener<Name extends keyof SessionEvents> = (event: SessionEvents[Name]) => void;

/**
 * The listeners of one manager, called at once. A listener that throws or rejects affects neither the others nor the
 * call: it becomes a process warning, `TOKENSESSION_LISTENER`.
 */
export class SessionEmitter {
  readonly #emitter = new EventEmitter();

  on<Name extends keyof SessionEvents>(name: Name, listener: SessionListener<Name>): void {
    this.#emitter.on(checked(name, listener), listener);
  }

  once<Name extends keyof SessionEvents>(name: Name, listener: SessionListener<Name>): void {
    this.#emitter.once(checked(name, listener), listener);
  }

  off<Name extends keyof SessionEvents>(name: Name, listener: SessionListener<Name>): void {
    this.#emitter.off(checked(name, listener), listener);
  }

  emit<Name extends keyof SessionEvents>(name: Name, event: SessionEvents[Name]): void {
    if (this.#emitter.listenerCount(name) === 0) return;
    for (const listener of this.#emitter.rawListeners(name)) {
      try {
        const outcome: unknown = listener(event);
        if (outcome !== undefined) Promise.resolve(outcome).catch((error: unknown) => warn(name, error));
      } catch (error) {
        warn(name, error);
      }
    }
  }
}

function checked(name: unknown, listener: unknown): string {
  if (typeof name !== 'string' || !Object.hasOwn(NAMES, name)) {
    throw new TypeError(`there is no event ${shown(name)}; there are ${EVENT_NAMES.join(', ')}`);
  }
  checkFunction('listener', listener);
  return name;
}

function warn(name: string, error: unknown): void {
  process.emitWarning(`tokensession: a listener of the event '${name}' failed`, {
    code: 'TOKENSESSION_LISTENER',
    detail: printed(error),
  });
}

/** An error can define how it is printed, and that may throw, too. */
function printed(error: unknown): string {
  try {
    return inspect(error);
  } catch {
    return 'an error that can not be printed';
  }
}

import { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import { checkFunction, kindOf, shown } from '../errors/arguments';
import type { SessionError } from '../errors/session-error';
import type { SessionAttributes } from '../store/store';

/** The events of what happens through one manager, in this process. No event holds a token. */
export interface SessionEvents {
  /** A user signed in, or `actor` as that user. */
  login: { userId: string; sessionId: string; attributes: SessionAttributes; actor?: string };
  /** A holder of the token ended its session. */
  logout: { userId: string; sessionId: string };
  /**
   * A login, whose session is `by`, took the place of this session: over a limit, or in the same browser, be it another
   * user's.
   */
  replaced: { userId: string; sessionId: string; by: string };
  /** This session was ended from outside: a kick, "log out everywhere", or its user is gone. */
  revoked: { userId: string; sessionId: string; message?: string };
  /** A token came whose time was up. */
  'expired-on-use': { userId: string; sessionId: string };
  /** A user was banned, which ended these sessions. */
  banned: { userId: string; sessionIds: string[]; until: Date | null; reason?: string };
  /** A new token was made for a session: by a rotation, a re-authentication, or the option `rotateEvery`. */
  rotated: { userId: string; sessionId: string };
  /**
   * A former token of a session was used after its grace: one of its tokens is in the wrong hands. `ended`: whether
   * that ended the session, as the option `onReuse` says.
   */
  reused: { userId: string; sessionId: string; ended: boolean };
  /**
   * A session that was answered for from the near cache could not be slid in the store. The request went on; the next
   * one asks the store itself.
   */
  'slide-failed': { userId: string; sessionId: string; error: unknown };
  /**
   * express-session saved a session that had ended meanwhile, by a logout or kick say: nothing was written. `userId` is
   * `null` for a visitor's.
   */
  'save-dropped': { userId: string | null; sessionId: string };
  /** A call to the store failed, after others had been answered. */
  'store-down': { error: SessionError };
  /** The store answers again, and has left no call unanswered for a second. */
  'store-up': Record<string, never>;
  /** The near cache may miss changes: it is emptied, and the store is asked instead. */
  'cache-down': { error: SessionError };
  /** It gets all changes again. */
  'cache-up': Record<string, never>;
  /**
   * The end of a watched session may be noticed late: changes may be missed, and each is asked for every five seconds.
   * While the store can't answer either, the signals of ended sessions wait for it.
   */
  'watch-down': { error: SessionError };
  /**
   * Whether watched sessions of a user have ended could not be found out, for another reason than an outage: a damaged
   * record, or one of a later version. They are asked for again after five seconds, and their signals wait.
   */
  'watch-failed': { sessionIds: string[]; error: unknown };
  /** The ends of watched sessions arrive again, and all of them are asked for once more. */
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

export type SessionListener<Name extends keyof SessionEvents> = (event: SessionEvents[Name]) => void;

/**
 * The listeners of one manager. They are called at once, and what one of them throws or rejects with reaches neither
 * the others nor the call: it becomes a process warning, `TOKENSESSION_LISTENER`.
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
    const given = typeof name === 'string' ? shown(name) : kindOf(name);
    throw new TypeError(`there is no event ${given}; there are ${Object.keys(NAMES).join(', ')}`);
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

/** An error may have a say in how it is printed, and fail at that, too. */
function printed(error: unknown): string {
  try {
    return inspect(error);
  } catch {
    return 'an error that can not be printed';
  }
}

/* What stands before the handlers: whether the session is there already, and who may go on. */
import type { SessionError } from '../errors/session-error';
import type { Refusal } from './refusal';
import { RequestSession } from './request-session';

/**
 * Whether a middleware with this manager has been here before on the request: its work is done, and stays as it is. With another manager
 * the later one takes the place.
 *
 * @throws TypeError when the place is taken by something else: each would find the other's object there, and break on it.
 */
export function isOpen(session: unknown, manager: unknown, name: string): boolean {
  if (session === undefined) return false;
  if (session instanceof RequestSession) return session.isBy(manager);
  throw new TypeError(
    `${name} is taken by another middleware (express-session, koa-session?): only one of them can have it`,
  );
}

/** The answer of `requireUser()`; `null` when the request may go on. */
export function refusalOf(session: unknown): SessionError | Refusal | null {
  if (!(session instanceof RequestSession)) throw new TypeError('requireUser() needs sessionMiddleware() before it');
  return session.refusal();
}

/** The answer of `requireRecentLogin()`; `null` when the request may go on. */
export function recencyRefusalOf(session: unknown, seconds: number): SessionError | Refusal | null {
  if (session instanceof RequestSession) return session.recencyRefusal(seconds);
  throw new TypeError('requireRecentLogin() needs sessionMiddleware() before it');
}

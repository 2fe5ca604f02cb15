import { checkSeconds, kindOf } from '../../errors/arguments';
import { SessionError } from '../../errors/session-error';
import type { User } from '../../manager/types';
import type { CurrentSession } from '../current-session';
import { currentOf, RequestSession } from '../request-session';
import { type GuardVerdict, type Refusal, recencyRefusal, userRefusal } from './refusal';
import { type RedirectOptions, redirectOf } from './request-guards';

/**
 * The user of a session, for hosts without middleware.
 *
 * @throws SessionError `ERR_UNAUTHENTICATED` without a user, with status 401. With `redirectTo` and a browser that asks
 *   for a page, the status is 303. SessionError of status 503 when the store could not be asked. TypeError for an
 *   option that is unknown, or for a value that is no path.
 * @example
 * const user = requireUser(session);
 */
export function requireUser<Detail>(session: RequestSession<Detail>, options?: RedirectOptions): User<Detail> {
  const redirectTo = redirectOf(options);
  return userOf(session, userRefusal(checkSession('requireUser', session), redirectTo));
}

/**
 * The user of a session who logged in, or was `reauthenticated()`, within `seconds`. Asks the store, never the near
 * cache.
 *
 * @throws or rejects with SessionError `ERR_REAUTHENTICATION_REQUIRED`, of status 403; without a user, as
 *   {@link requireUser}. TypeError or RangeError when `seconds` is not a positive whole number.
 */
export async function requireRecentLogin<Detail>(
  session: RequestSession<Detail>,
  seconds: number,
): Promise<User<Detail>> {
  const within = checkSeconds('seconds', seconds);
  return userOf(session, await recencyRefusal(checkSession('requireRecentLogin', session), within));
}

function checkSession<Detail>(guard: string, session: RequestSession<Detail>): CurrentSession<Detail> {
  if (session instanceof RequestSession) return currentOf(session);
  throw new TypeError(`${guard}() needs the session of openSession(), got ${kindOf(session)}`);
}

function userOf<Detail>(session: RequestSession<Detail>, refusal: GuardVerdict): User<Detail> {
  if (refusal instanceof Error) throw refusal;
  if (refusal !== null) throw currentOf(session).withErrorHeaders(refusalError(refusal));
  return session.user as User<Detail>;
}

function refusalError({ status, headers, body }: Refusal): SessionError {
  const isUnknown = body.error === 'unauthenticated';
  return isUnknown
    ? new SessionError('ERR_UNAUTHENTICATED', 'no user is signed in', { status, headers, body })
    : new SessionError('ERR_REAUTHENTICATION_REQUIRED', 'the login is too long ago', { status, headers, body });
}

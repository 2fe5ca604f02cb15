/* The guards: for hosts with a middleware, and as functions of a session for hosts without one. */
import { checkCalled, checkSeconds, kindOf, optional, type Readers, readOptions } from '../../errors/arguments';
import { SessionError } from '../../errors/session-error';
import type { User } from '../../manager/types';
import type { CurrentSession } from '../session/current-session';
import { checkProperty } from '../session/middleware-options';
import { currentOf, RequestSession } from '../session/request-session';
import { chosenSession } from '../session/session-place';
import { type Refusal, recencyRefusal, userRefusal } from './refusal';
import { checkRedirectTo } from './return-to';

/** The option of `requireRecentLogin()` where a middleware puts sessions on requests. */
export interface GuardOptions<Property extends string = string> {
  /**
   * The property of the session to judge, as in `sessionMiddleware()`. A request with several sessions needs it.
   * Default: the request's only session.
   */
  property?: Property | undefined;
}

/** The option of `requireUser()` for pages. */
export interface RedirectOptions {
  /**
   * The path of a login page. A browser that asks for a page is redirected there with 303. The query's `returnTo` is
   * the path that it asked for: pass it through `safeReturnTo()` before you redirect to it. Other requests get 401.
   * Default: none; every request gets 401.
   */
  redirectTo?: string | undefined;
}

/** Options of `requireUser()` where a middleware puts sessions on requests. */
export interface RequireUserOptions<Property extends string = string> extends GuardOptions<Property>, RedirectOptions {}

const REDIRECT = { redirectTo: optional(checkRedirectTo, null) } satisfies Readers<RedirectOptions>;
const PROPERTY = { property: optional(checkProperty, null) } satisfies Readers<GuardOptions>;

/**
 * Judges a request: the answer to it, or `null` when it may go on.
 *
 * @throws or rejects with what goes to the host's error path.
 */
export type Guard = (request: object) => Refusal | null | Promise<Refusal | null>;

/** @param needs what puts the session on a request, for errors. Default: `sessionMiddleware()`. */
export function userGuard(options: RequireUserOptions | undefined, needs?: string): Guard {
  checkCalled('requireUser', options);
  const { redirectTo, property } = readOptions('requireUser', options, { ...REDIRECT, ...PROPERTY }, '');
  return (request) => {
    const current = currentOf(chosenSession(request, property, 'requireUser()', needs));
    return forbidCaches(current, userRefusal(current, redirectTo));
  };
}

/** @param needs what puts the session on a request, for errors. Default: `sessionMiddleware()`. */
export function recencyGuard(seconds: number, options: GuardOptions | undefined, needs?: string): Guard {
  checkCalled('requireRecentLogin', seconds);
  const within = checkSeconds('seconds', seconds);
  const { property } = readOptions('requireRecentLogin', options, PROPERTY, '');
  return async (request) => {
    const current = currentOf(chosenSession(request, property, 'requireRecentLogin()', needs));
    return forbidCaches(current, await recencyRefusal(current, within));
  };
}

/** Keeps a refusal out of all caches: a cached one would outlive a login, or reach another client. */
function forbidCaches(current: CurrentSession<unknown>, refusal: Refusal | null): Refusal | null {
  if (refusal !== null) current.exchange.reply()?.forbidCaches();
  return refusal;
}

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
  const { redirectTo } = readOptions('requireUser', options, REDIRECT, '');
  const current = checkedCurrent('requireUser', session);
  return userOf(current, userRefusal(current, redirectTo));
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
  const current = checkedCurrent('requireRecentLogin', session);
  return userOf(current, await recencyRefusal(current, within));
}

function checkedCurrent<Detail>(guard: string, session: RequestSession<Detail>): CurrentSession<Detail> {
  if (session instanceof RequestSession) return currentOf(session);
  throw new TypeError(`${guard}() needs the session of openSession(), got ${kindOf(session)}`);
}

function userOf<Detail>(current: CurrentSession<Detail>, refusal: Refusal | null): User<Detail> {
  if (refusal === null) return current.user as User<Detail>;
  const [code, message] =
    refusal.body.error === 'unauthenticated'
      ? (['ERR_UNAUTHENTICATED', 'no user is signed in'] as const)
      : (['ERR_REAUTHENTICATION_REQUIRED', 'the login is too long ago'] as const);
  throw current.withErrorHeaders(new SessionError(code, message, refusal));
}

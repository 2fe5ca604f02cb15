import { checkCalled, checkSeconds, optional, type Readers, readOptions } from '../../errors/arguments';
import type { CurrentSession } from '../current-session';
import { checkProperty } from '../property';
import { currentOf } from '../request-session';
import { chosenSession } from '../session-place';
import { type GuardVerdict, recencyRefusal, userRefusal } from './refusal';
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

/** Judges a request. */
export type Guard = (request: object) => GuardVerdict | Promise<GuardVerdict>;

/** The path of the login page; `null` for none. */
export function redirectOf(options: RedirectOptions | undefined): string | null {
  return readOptions('requireUser', options, REDIRECT, '').redirectTo;
}

/** @param needs what puts the session on a request, for errors. Default: `sessionMiddleware()`. */
export function userGuard(options: RequireUserOptions | undefined, needs?: string): Guard {
  checkCalled('requireUser', options);
  const { redirectTo, property } = readOptions('requireUser', options, { ...REDIRECT, ...PROPERTY }, '');
  return (request) => {
    const current = currentOf(chosenSession(request, property, 'requireUser()', needs));
    return uncached(current, userRefusal(current, redirectTo));
  };
}

/** @param needs what puts the session on a request, for errors. Default: `sessionMiddleware()`. */
export function recencyGuard(seconds: number, options: GuardOptions | undefined, needs?: string): Guard {
  checkCalled('requireRecentLogin', seconds);
  const within = checkSeconds('seconds', seconds);
  const { property } = readOptions('requireRecentLogin', options, PROPERTY, '');
  return async (request) => {
    const current = currentOf(chosenSession(request, property, 'requireRecentLogin()', needs));
    return uncached(current, await recencyRefusal(current, within));
  };
}

/** A cached refusal would outlive a login, or reach another client. */
function uncached(current: CurrentSession<unknown>, verdict: GuardVerdict): GuardVerdict {
  if (verdict !== null && !(verdict instanceof Error)) current.exchange.reply()?.forbidCaches();
  return verdict;
}

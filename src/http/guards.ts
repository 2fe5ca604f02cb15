import { checkSeconds, optional, type Readers, readOptions } from '../errors/arguments';
import type { Refusal } from './refusal';
import { currentOf } from './request-session';
import { checkRedirectTo } from './return-to';
import { sessionOf } from './session-place';
import { recencyRefusal, userRefusal } from './session-refusals';

/** Options of `requireUser()`. */
export interface RequireUserOptions {
  /**
   * The path of a login page. A browser that asks for a page is redirected there with 303. The query's `returnTo` is
   * the path that it asked for: pass it through `safeReturnTo()` before you redirect to it. Other requests get 401.
   * Default: none; every request gets 401.
   */
  redirectTo?: string | undefined;
}

const OPTIONS = { redirectTo: optional(checkRedirectTo, null) } satisfies Readers<RequireUserOptions>;

const MIDDLEWARE = 'sessionMiddleware()';

/**
 * Judges a request. Gives the refusal (an error for the host's error path, or an answer), or `null` when the request
 * may go on.
 */
export type Guard = (request: object) => Refusal | Error | null | Promise<Refusal | Error | null>;

/** The path of the login page; `null` for none. */
export function redirectOf(options: RequireUserOptions | undefined): string | null {
  return readOptions('requireUser', options, OPTIONS, '').redirectTo;
}

/** @param needs what has to be mounted before it. */
export function userGuard(options: RequireUserOptions | undefined, needs = MIDDLEWARE): Guard {
  const redirectTo = redirectOf(options);
  return (request) => userRefusal(opened(request, 'requireUser', needs), redirectTo);
}

/** @param needs what has to be mounted before it. */
export function recencyGuard(seconds: number, needs = MIDDLEWARE): Guard {
  const within = checkSeconds('seconds', seconds);
  return (request) => recencyRefusal(opened(request, 'requireRecentLogin', needs), within);
}

function opened(request: object, guard: string, needs: string) {
  const session = sessionOf(request);
  if (session === null) throw new TypeError(`${guard}() needs ${needs} before it`);
  return currentOf(session);
}

import { kindOf, oneOf, optional, type Read, type Readers, readOptions } from '../errors/arguments';
import { TokenManager } from '../manager/token-manager';
import { clearSiteDataOf, type SiteData } from './clear-site-data';
import { type Cookies, readCookies } from './cookie';
import type { CookieOptions } from './cookie-options';
import { type CrossOriginOptions, readTrustedOrigins, type TrustedOrigins } from './origin-check';
import { checkProperty } from './property';
import { type HeaderOption, headerTransport } from './token-header';

/** Options of `sessionMiddleware()`. */
export interface SessionMiddlewareOptions<Property extends string = string> extends CrossOriginOptions {
  /** The cookie that carries the token, or `false` for none. Defaults: see {@link CookieOptions}. */
  cookie?: CookieOptions | false | undefined;
  /**
   * The header that may carry the token: `'authorization'` (default, `Bearer`), another name, or `false` for none. A
   * signed token there acts alone, whatever the cookie holds; other values are ignored.
   */
  header?: HeaderOption | undefined;
  /**
   * What to do with a request with a token while the store can't answer. `'error'` (default): 503 with `Retry-After`.
   * `'anonymous'`: it goes on without a user, and guards answer 503.
   */
  onUnavailable?: 'error' | 'anonymous' | undefined;
  /**
   * What `logout()` asks the browser to delete of the whole origin, in `Clear-Site-Data` (W3C Clear Site Data; OWASP
   * Session Management): `true` for cache, cookies and storage, or a list of kinds. Browsers obey on secure responses
   * only. Default `false`, the session's cookie only: the header takes seconds on a big site, and also deletes the data
   * of other applications of the origin.
   */
  clearSiteData?: boolean | readonly SiteData[] | undefined;
  /**
   * When to read session data. `'lazy'` (default): in a call of its own, once a handler asks. `'eager'`: in the call
   * that every request with a token makes, also where a near cache knows the session.
   */
  data?: 'lazy' | 'eager' | undefined;
  /**
   * The property of the request or context that holds the session. With another one, `'auth'` for example,
   * express-session or koa-session can keep theirs. Name it in `Register` as well, for the types. Default `'session'`.
   */
  property?: Property | undefined;
}

const READERS = {
  cookie: (_name, value) => readCookies(value as CookieOptions | false | undefined),
  header: (_name, value) => headerTransport(value as HeaderOption | undefined),
  onUnavailable: optional(oneOf('error', 'anonymous'), 'error'),
  crossOrigin: optional(oneOf('refuse', 'allow'), 'refuse'),
  trustedOrigins: readTrustedOrigins,
  clearSiteData: (_name, value) => clearSiteDataOf(value as boolean | readonly SiteData[] | undefined),
  data: optional(oneOf('lazy', 'eager'), 'lazy'),
  property: optional(checkProperty, 'session'),
} satisfies Readers<SessionMiddlewareOptions>;

/** The options of one `sessionMiddleware()`, checked. */
export interface SessionPolicy<Detail> extends Omit<Read<typeof READERS>, 'cookie' | 'crossOrigin' | 'trustedOrigins'> {
  cookies: Cookies | null;
  manager: TokenManager<Detail>;
  trustedOrigins: TrustedOrigins;
}

/**
 * @param caller what the options were given to, for errors.
 * @throws TypeError naming the argument or option that is unknown, of the wrong kind, or refused by browsers.
 */
export function sessionPolicy<Detail>(
  manager: TokenManager<Detail>,
  options: SessionMiddlewareOptions | undefined,
  caller = 'sessionMiddleware',
): SessionPolicy<Detail> {
  if (!(manager instanceof TokenManager)) {
    throw new TypeError(`${caller} needs a TokenManager, got ${kindOf(manager)}`);
  }
  const { cookie: cookies, crossOrigin, trustedOrigins, ...policy } = readOptions(caller, options, READERS);
  if (cookies === null && policy.header === null) {
    throw new TypeError('options cookie and header must not both be false: no token could ever arrive');
  }
  return { ...policy, cookies, manager, trustedOrigins: crossOrigin === 'allow' ? null : trustedOrigins };
}

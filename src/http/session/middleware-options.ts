import { checkCalled, oneOf, optional, type Read, type Readers, readOptions, shown } from '../../errors/arguments';
import { checkManager } from '../../manager/check-manager';
import type { RequestSessions } from '../../manager/request-sessions';
import { requestSessionsOf, type TokenManager } from '../../manager/token-manager';
import type { Register } from '../../manager/types';
import { type CookiesOf, readCookies } from '../cookies/cookie';
import type { CookieOptions } from '../cookies/cookie-options';
import { readSiteData, type SiteData } from '../exchange/clear-site-data';
import { type CrossOriginOptions, readTrustedOrigins, type TrustedOrigins } from '../tokens/origin-check';
import { type HeaderOption, readHeader } from '../tokens/token-header';

/** Options of `sessionMiddleware()`. */
export interface SessionMiddlewareOptions<Property extends string = string> extends CrossOriginOptions {
  /** The cookie that carries the token, or `false` for none. Defaults: see {@link CookieOptions}. */
  cookie?: CookieOptions | false | undefined;
  /**
   * The header that may carry the token: `'authorization'` (default, `Bearer`), another name, or `false` for none. If
   * it has a signed token, the cookie is ignored; other values of it are ignored.
   */
  header?: HeaderOption | undefined;
  /**
   * What to do with a request with a token while the store can't answer. `'error'` (default): answer 503 with
   * `Retry-After`. `'anonymous'`: continue without a user; guards still answer 503.
   */
  onUnavailable?: 'error' | 'anonymous' | undefined;
  /**
   * The data of the whole origin that `logout()` asks the browser to delete, with `Clear-Site-Data` (W3C Clear Site
   * Data; OWASP Session Management). `true` is for cache, cookies and storage; a list names the kinds. Browsers obey
   * with HTTPS only. The header takes seconds on a big site, and deletes the data of other applications of the origin.
   * Cookies stay where the application has the same response set the cookie of another session. Default `false`: only
   * the session's cookie.
   */
  clearSiteData?: boolean | readonly SiteData[] | undefined;
  /**
   * When to read session data. `'lazy'` (default): in a separate call, when a handler reads it. `'eager'`: in the call
   * that checks the token. With a near cache, `'eager'` makes that call even for a session in memory.
   */
  data?: 'lazy' | 'eager' | undefined;
  /**
   * The property of the request or context that holds the session. Set another one, such as `'auth'`, to leave
   * `session` to express-session or koa-session. For the types, name it in `Register` as well. Default `'session'`.
   */
  property?: Property | undefined;
}

const READERS = {
  cookie: readCookies,
  header: readHeader,
  onUnavailable: optional(oneOf('error', 'anonymous'), 'error'),
  crossOrigin: optional(oneOf('refuse', 'allow'), 'refuse'),
  trustedOrigins: readTrustedOrigins,
  clearSiteData: readSiteData,
  data: optional(oneOf('lazy', 'eager'), 'lazy'),
  property: optional(checkProperty, 'session'),
} satisfies Readers<SessionMiddlewareOptions>;

/** The options of one `sessionMiddleware()`, checked. */
export interface SessionPolicy<Detail> extends Omit<Read<typeof READERS>, 'cookie' | 'crossOrigin' | 'trustedOrigins'> {
  cookies: CookiesOf | null;
  manager: TokenManager<Detail>;
  sessions: RequestSessions<Detail>;
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
  checkCalled(caller, manager);
  checkManager(caller, manager);
  const { cookie: cookies, crossOrigin, trustedOrigins, ...policy } = readOptions(caller, options, READERS);
  if (cookies === null && policy.header === null) {
    throw new TypeError('options cookie and header must not both be false: no token could ever arrive');
  }
  if (crossOrigin === 'allow' && trustedOrigins.size > 0) {
    throw new TypeError("option crossOrigin: 'allow' ignores the list of option trustedOrigins: leave one out");
  }
  const sessions = requestSessionsOf(manager);
  return { ...policy, cookies, manager, sessions, trustedOrigins: crossOrigin === 'allow' ? null : trustedOrigins };
}

/** The options of `sessionMiddleware()` without `property`: the opener returns the session. */
export type SessionOpenerOptions = Omit<SessionMiddlewareOptions, 'property'>;

/** @throws TypeError naming the argument or option that is unknown, of the wrong kind, or refused by browsers. */
export function openerPolicy<Detail>(
  manager: TokenManager<Detail>,
  options: SessionOpenerOptions | undefined,
): SessionPolicy<Detail> {
  if (options !== undefined && Object.hasOwn(Object(options), 'property')) {
    throw new TypeError('sessionOpener has no option "property": the session is what openSession() gives');
  }
  return sessionPolicy(manager, options, 'sessionOpener');
}

/** The property that {@link Register} names for the request's session; `'session'` while it names none. */
export type RegisteredProperty = Register extends { property: infer Property extends string } ? Property : 'session';

/** The property that a guard's options name; {@link RegisteredProperty} when the options may name any. */
export type OneProperty<Property extends string> = string extends Property ? RegisteredProperty : Property;

/** @throws TypeError for what can't be a property of its own on a request. */
export function checkProperty(name: string, value: unknown): string {
  if (typeof value === 'string' && /^[A-Za-z_$][\w$]*$/.test(value) && !(value in {})) return value;
  throw new TypeError(`${name} must be the name of a property, such as "auth", got ${shown(value)}`);
}

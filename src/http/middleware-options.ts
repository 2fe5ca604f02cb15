import { checkOptions, kindOf } from '../errors/arguments';
import { TokenManager } from '../manager/token-manager';
import { type CookieTransport, cookieTransport } from './cookie';
import type { CookieOptions } from './cookie-options';
import { type HeaderOption, type HeaderTransport, headerTransport } from './token-header';
import { clearSiteDataOf, type SiteData } from './clear-site-data';
import { type CrossOriginOptions, type TrustedOrigins, trustedOriginsOf } from './origin-check';

export interface SessionMiddlewareOptions extends CrossOriginOptions {
  /** The cookie that carries the token, or `false` for none. Default: see {@link CookieOptions}. */
  cookie?: CookieOptions | false | undefined;
  /** The header that may carry the token, before the cookie: `'authorization'` (default, `Bearer`), another name, or `false` for none. */
  header?: HeaderOption | undefined;
  /**
   * What becomes of a request with a token while the store can't answer. `'error'` (default): 503 with `Retry-After`.
   * `'anonymous'`: it goes on with nobody signed in; only `requireUser()` answers 503.
   */
  onUnavailable?: 'error' | 'anonymous' | undefined;
  /**
   * What `logout()` asks the browser to forget of the whole origin, in `Clear-Site-Data` (W3C Clear Site Data; OWASP Session
   * Management): `true` for cache, cookies and storage, or a list of kinds. Browsers heed it on secure responses alone. Default
   * `false`, the session's cookie only: on a big site the header takes seconds, and other applications of the origin lose what is theirs.
   */
  clearSiteData?: boolean | readonly SiteData[] | undefined;
}

const OPTIONS: Record<keyof SessionMiddlewareOptions, true> = {
  cookie: true,
  header: true,
  onUnavailable: true,
  crossOrigin: true,
  trustedOrigins: true,
  clearSiteData: true,
};

/** What one `sessionMiddleware()` was set up with. */
export interface SessionPolicy<Detail> {
  manager: TokenManager<Detail>;
  cookie: CookieTransport | null;
  header: HeaderTransport | null;
  onUnavailable: 'error' | 'anonymous';
  trustedOrigins: TrustedOrigins;
  /** The value of the header of that name at a logout; `null` for no header. */
  clearSiteData: string | null;
}

/** @throws TypeError naming the argument or option that is unknown, of the wrong kind, or refused by browsers. */
export function sessionPolicy<Detail>(
  manager: TokenManager<Detail>,
  options: SessionMiddlewareOptions | undefined,
): SessionPolicy<Detail> {
  if (!(manager instanceof TokenManager)) {
    throw new TypeError(`sessionMiddleware needs a TokenManager, got ${kindOf(manager)}`);
  }
  const given = checkOptions('sessionMiddleware', options, OPTIONS);
  const { cookie, header, onUnavailable = 'error', clearSiteData } = given;
  if (onUnavailable !== 'error' && onUnavailable !== 'anonymous') {
    throw new TypeError("option onUnavailable must be 'error' or 'anonymous'");
  }
  const policy: SessionPolicy<Detail> = {
    manager,
    cookie: cookieTransport(cookie, manager.absoluteTtl),
    header: headerTransport(header),
    onUnavailable,
    trustedOrigins: trustedOriginsOf(given),
    clearSiteData: clearSiteDataOf(clearSiteData),
  };
  if (policy.cookie === null && policy.header === null) {
    throw new TypeError('options cookie and header must not both be false: no token could ever arrive');
  }
  return policy;
}

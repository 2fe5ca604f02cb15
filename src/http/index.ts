export type { SiteData } from './clear-site-data';
export type { CookieOptions } from './cookie-options';
export type { RedirectOptions } from './guards';
export type { LoginOptions, LogoutOptions } from './login-options';
export type { SessionMiddlewareOptions } from './middleware-options';
export type { RequestSession } from './request-session';
export { safeReturnTo } from './return-to';
export type { SessionContext } from './session-place';
export type { HeaderOption } from './token-header';

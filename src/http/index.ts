export type { SiteData } from './clear-site-data';
export type { CookieOptions } from './cookies/cookie-options';
export type { RedirectOptions } from './guards/guards';
export { safeReturnTo } from './guards/return-to';
export type { LoginOptions, LogoutOptions } from './login-options';
export type { SessionMiddlewareOptions } from './middleware-options';
export type { RequestSession } from './request-session';
export type { SessionContext } from './session-place';
export type { HeaderOption } from './token-header';

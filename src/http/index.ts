export type { CookieOptions } from './cookies/cookie-options';
export type { SiteData } from './exchange/clear-site-data';
export type { RedirectOptions } from './guards/guards';
export { safeReturnTo } from './guards/return-to';
export type { LoginOptions, LogoutOptions } from './session/login-options';
export type { SessionMiddlewareOptions } from './session/middleware-options';
export type { RequestSession } from './session/request-session';
export type { SessionContext } from './session/session-place';
export type { HeaderOption } from './tokens/token-header';

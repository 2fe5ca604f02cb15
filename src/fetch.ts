import { FetchExchange, type FetchRequest } from './fetch-http/fetch-exchange';
import { replyTo } from './fetch-http/fetch-reply';
import type { Connection } from './http/exchange/connection';
import { openerPolicy, type SessionOpenerOptions } from './http/session/middleware-options';
import { openOnce } from './http/session/opening';
import { currentOf, RequestSession, refuseAssignments } from './http/session/request-session';
import type { TokenManager } from './manager/token-manager';
import type { RegisteredDetail } from './manager/types';

export type { Connection } from './http/exchange/connection';
export { requireRecentLogin, requireUser } from './http/guards/guards';
export * from './http/index';
export type { SessionOpenerOptions } from './http/session/middleware-options';
export type { FetchRequest };

/** Opens the session of a request. See {@link sessionOpener}. */
export type OpenSession<Detail = RegisteredDetail> = (
  request: FetchRequest,
  connection?: Connection,
) => Promise<FetchSession<Detail>>;

/** The session of a `Request`. */
class FetchSession<Detail = RegisteredDetail> extends RequestSession<Detail> {
  /**
   * Adds the session's headers to a response: `Set-Cookie`, `Cache-Control`, `Clear-Site-Data`. Other headers and
   * cookies stay, and so does the body, even a stream. The given response stays as it is: send the returned one, which
   * a second call for the same response gives again. Call it for every response, after everything else about the
   * session: a later login rejects.
   */
  commit(response: Response): Response {
    return (currentOf(this).exchange as FetchExchange).commit(response);
  }
}
refuseAssignments(FetchSession.prototype);

export type { FetchSession };

/**
 * Opens sessions for hosts with `Request` and `Response`. By default it takes tokens from `Authorization: Bearer`, and
 * from the cookie `__Host-session` (`session` where a request isn't secure). A request without a signed token costs no
 * call to the store; one with a token costs one. The URL says whether a request is secure, unless `connection` does.
 * Opened again, a request has the same session. A copy of it, or an object that wraps it, has its own.
 *
 * While the store can't answer, a request with a token fails with a `SessionError` of status 503. An unsafe request of
 * another origin with a token in the cookie fails with one of status 403. The error's `getResponse()` is the answer.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * const openSession = sessionOpener(manager);
 * const session = await openSession(request);
 * return session.commit(Response.json(session.user));
 */
export function sessionOpener<Detail>(
  manager: TokenManager<Detail>,
  options?: SessionOpenerOptions,
): OpenSession<Detail> {
  const policy = openerPolicy(manager, options);
  return openOnce((request: FetchRequest, connection?: Connection) => {
    if (typeof request?.headers?.get !== 'function') throw new TypeError('openSession() needs a Request');
    return new FetchSession(policy, new FetchExchange(request, connection, replyTo(request)));
  });
}

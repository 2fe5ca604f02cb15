import { FetchExchange, type FetchRequest } from './fetch-http/fetch-exchange';
import { replyTo } from './fetch-http/fetch-reply';
import type { Connection } from './http/connection';
import { RequestSession, refuseAssignments } from './http/request-session';
import { openerPolicy, openOnce, type SessionOpenerOptions } from './http/session-opener';
import type { TokenManager } from './manager/token-manager';
import type { RegisteredDetail } from './manager/types';

export type { Connection } from './http/connection';
export * from './http/index';
export { requireRecentLogin, requireUser } from './http/session-guards';
export type { SessionOpenerOptions } from './http/session-opener';
export type { FetchRequest };

/** Opens the session of a request. See {@link sessionOpener}. */
export type OpenSession<Detail = RegisteredDetail> = (
  request: FetchRequest,
  connection?: Connection,
) => Promise<FetchSession<Detail>>;

/** The requests of sessions, by which `commit` finds what to add. */
const requests = new WeakMap<object, FetchRequest>();

/** The session of a `Request`. */
class FetchSession<Detail = RegisteredDetail> extends RequestSession<Detail> {
  /**
   * The response to send, with what the session has to say: `Set-Cookie`, `Cache-Control`, `Clear-Site-Data`. Other
   * headers and cookies stay, and so does the body, a stream too. The response is not changed: send the one that this
   * gives. To be called for every response, when nothing else is to happen to the session: a login after it rejects.
   */
  commit(response: Response): Response {
    return replyTo(requests.get(this) as FetchRequest).commit(response);
  }
}
refuseAssignments(FetchSession.prototype);

export type { FetchSession };

/**
 * Opens sessions wherever there are `Request` and `Response`. Without options it takes tokens from `Authorization:
 * Bearer` and from the cookie `__Host-session`, or `session` where a request isn't secure: its URL says so, unless the
 * connection does. A request without a signed token costs no call to the store, one with a token costs one. Opened
 * again, a request has the same session.
 *
 * What it gives rejects with a `SessionError`, whose `getResponse()` is the answer: of status 503 for a request with a
 * token while the store can't answer, of status 403 for an unsafe request of another origin with a token in the cookie.
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
    const exchange = new FetchExchange(request, connection, replyTo(request));
    const session = new FetchSession(policy, exchange, null);
    requests.set(session, request);
    return session;
  });
}

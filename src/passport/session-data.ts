import type { RequestSession } from '../http/request-session';
import { sessionOf } from '../http/session-place';

/** The session of a request. @throws TypeError where the middleware has not been. */
export function requestSession(request: object): RequestSession<unknown> {
  const session = sessionOf(request);
  if (session !== null) return session;
  throw new TypeError('tokensession/passport needs a session: mount sessionMiddleware() before it');
}

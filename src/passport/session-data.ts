import type { RequestSession } from '../http/request-session';
import { sessionOf } from '../http/session-place';

/** The session of a request. @throws TypeError when no `sessionMiddleware()` has run. */
export function requestSession(request: object): RequestSession<unknown> {
  const session = sessionOf(request);
  if (session !== null) return session;
  throw new TypeError('tokensession/passport needs a session: mount sessionMiddleware() before it');
}

import type { RequestSession } from '../http/request-session';
import { chosenSession } from '../http/session-place';

/**
 * The session of a request.
 *
 * @param property the option of the caller; `null` for the request's only session.
 * @throws TypeError when there is none, or when there are several and none is named.
 */
export function requestSession(request: object, property: string | null): RequestSession<unknown> {
  return chosenSession(request, property, 'tokensession/passport', 'sessionMiddleware()');
}

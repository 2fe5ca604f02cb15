import type { TokenManager } from '../manager/token-manager';
import { type SessionMiddlewareOptions, type SessionPolicy, sessionPolicy } from './middleware-options';
import { openSession } from './opening';
import { privateField } from './private-field';
import { currentOf, type RequestSession } from './request-session';

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

/**
 * Opens the session of each request once: later calls for the same request give the same session, or the same failure.
 *
 * @param create makes the session of a request, not yet opened.
 */
export function openOnce<Request extends object, More extends unknown[], Session extends RequestSession<unknown>>(
  create: (request: Request, ...more: More) => Session,
): (request: Request, ...more: More) => Promise<Session> {
  const openings = privateField<Session | Promise<Session>>();
  return async (request, ...more) => {
    const present = openings.get(request);
    if (present !== undefined) return present;
    const session = create(request, ...more);
    const opened = openSession(currentOf(session));
    const opening = opened === undefined ? session : opened.then(() => session);
    openings.add(request, opening);
    return opening;
  };
}

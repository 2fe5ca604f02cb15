/* How the session of a request is opened. */
import type { OpenedSession } from '../../manager/opened-session';
import { outlivesBrowser } from '../cookies/cookie';
import { privateField } from '../exchange/private-field';
import type { CurrentSession } from './current-session';
import { currentOf, type RequestSession } from './request-session';

/**
 * Finds the user or visitor of a request. Clears no cookie: a newer login may have set it while this request was in
 * flight.
 *
 * @returns `undefined` when that needs no call to the store.
 * @throws or rejects when the user can't be determined.
 */
export function openSession<Detail>(current: CurrentSession<Detail>): Promise<void> | undefined {
  const { policy, tokens } = current;
  const { acting, refusal } = tokens;
  if (refusal !== null) {
    current.failure = refusal;
    // A conflict signs no one in. A login must be able to end it, also one in several steps, with a visitor's data.
    return current.isConflict ? openVisitor(current) : Promise.reject(current.openingError());
  }
  const [token] = acting;
  if (token === undefined) return openVisitor(current);
  const known = acting.length === 1 && policy.data === 'lazy' ? policy.sessions.openKnown(token) : null;
  if (known === null) return lookUp(current, acting);
  signInByToken(current, known);
  return undefined;
}

/** The outcome of opening, for a second middleware with the same manager. */
export function reopenSession(current: CurrentSession<unknown>): Promise<void> | undefined {
  const error = current.openingError();
  return error === null ? undefined : Promise.reject(error);
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

/** Finds the visitor, where no user's token came. Returns `undefined` when that needs no call to the store. */
function openVisitor(current: CurrentSession<unknown>): Promise<void> | undefined {
  const { token, refusal } = current.visitor;
  return token === null && refusal === null ? undefined : lookUp(current, []);
}

/** Signs in with the first live token, or else opens the visitor's session that came. */
async function lookUp<Detail>(current: CurrentSession<Detail>, tokens: readonly string[]): Promise<void> {
  const { sessions, data } = current.policy;
  try {
    for (const token of tokens) {
      const opened = await sessions.open(token, data === 'eager');
      if (opened.session !== null) return signInByToken(current, opened.session);
      current.ending ??= opened.ending;
    }
    const { token, refusal } = current.visitor;
    if (refusal !== null) throw refusal;
    if (token !== null) current.session = await sessions.openVisitor(token, data === 'eager');
  } catch (error) {
    current.failure = error as Error;
    const failure = current.openingError();
    if (failure !== null) throw failure;
  }
}

/** Signs in with a token that came, and renews it when that is due. */
function signInByToken<Detail>(current: CurrentSession<Detail>, session: OpenedSession<Detail>): void {
  const { policy, exchange, tokens } = current;
  const { rotations } = policy.sessions;
  const isInCookie = tokens.cookies.includes(session.token);
  current.signIn(session, isInCookie);
  if (!isInCookie) return;
  current.isPersistent = outlivesBrowser(exchange.header('cookie'), session.token);
  // In this order: `isTooLate` may make the host create the request's signal, at a cost.
  if (!rotations.isDue(session) || exchange.isTooLate()) return;
  const next = session.withToken(rotations.renewed(session));
  current.signIn(next, true);
  current.setCookie(next, current.freshForMs, true);
}

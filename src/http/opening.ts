/* How the session of a request is opened. */
import type { OpenedSession } from '../manager/opened-session';
import { isVisitor } from '../token/token';
import type { CurrentSession } from './current-session';
import { crossOriginRefusal } from './origin-check';

/** The least number of milliseconds for which an answer may set a token unasked, even with a shorter grace. */
const MIN_FRESH_MS = 1000;

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
 * Continues with a live session that the host has verified, if no user is signed in, and sets its cookie. Does nothing
 * for a page of another origin, or if the user of the request could not be determined.
 */
export function adoptSession(current: CurrentSession<unknown>, token: string, isPersistent: boolean): Promise<void> {
  return current.inTurn(async () => {
    const { sessions, cookies, trustedOrigins, data } = current.policy;
    const isTooLate = cookies !== null && current.exchange.isTooLate();
    if (current.user !== null || current.failure !== null || isTooLate) return;
    if (cookies !== null && crossOriginRefusal(current.exchange, trustedOrigins) !== null) return;
    const claims = sessions.readToken(token);
    if (claims !== null && isVisitor(claims)) {
      const visitor = current.session === null ? await sessions.openVisitor(token, data === 'eager') : null;
      if (visitor !== null) current.visitAs(visitor, freshForMs(current));
      return;
    }
    const { session } = await sessions.open(token, data === 'eager');
    if (session === null) return;
    current.isPersistent = isPersistent;
    current.signIn(session, cookies !== null);
    current.setCookie(session, freshForMs(current));
    current.clearVisitorCookie(freshForMs(current));
  });
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
  const { cookies } = policy;
  const { rotations } = policy.sessions;
  const isInCookie = tokens.cookies.includes(session.token);
  current.signIn(session, isInCookie);
  if (!isInCookie || cookies === null) return;
  current.isPersistent = cookies.user.isPersistent(exchange.header('cookie'), session.token);
  // In this order: `isTooLate` may make the host create the request's signal, at a cost.
  if (!rotations.isDue(session) || exchange.isTooLate()) return;
  const next = session.withToken(rotations.renewed(session));
  current.signIn(next, true);
  current.setCookie(next, freshForMs(current), true);
}

/** Milliseconds after which an answer is too late to set a token: it must not replace a later one in the browser. */
function freshForMs({ policy }: CurrentSession<unknown>): number {
  return Math.max(policy.sessions.rotations.graceMs, MIN_FRESH_MS);
}

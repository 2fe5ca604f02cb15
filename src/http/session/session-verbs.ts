/* The verbs that change whose session a request has, or with which token. */
import type { OpenedSession } from '../../manager/opened-session';
import type { SessionEntries } from '../../store/store';
import { isVisitor } from '../../token/token';
import { attributesOf } from '../exchange/exchange';
import { type CurrentSession, headersSent } from './current-session';
import type { CheckedLoginOptions, CheckedLogoutOptions } from './login-options';

/** Signs a user in, as `RequestSession.login` says. Gives the new token. */
export function logIn<Detail>(
  current: CurrentSession<Detail>,
  userId: string,
  { ttl, absoluteTtl, attributes, actor, keep, persistent }: CheckedLoginOptions,
): Promise<string> {
  const { policy, exchange } = current;
  const { manager, sessions, cookies, clearSiteData } = policy;
  return current.inTurn(async () => {
    current.checkMaySetCookie('login()');
    const { session: former, user, hasEnded } = current;
    const visitor = current.visitor.token;
    const isKept = former !== null && user?.id === userId && keep.length > 0;
    const inherits = isKept ? { sid: former.id, keys: keep } : undefined;
    // Beside a user's session, a visitor's may be planted.
    const isCopied = visitor !== null && user === null && !hasEnded && keep.length > 0;
    const data = (isCopied ? await sessions.storedData(visitor, keep) : null) ?? undefined;
    const options = {
      ttl,
      absoluteTtl,
      attributes: { ...attributesOf(exchange), ...attributes },
      actor,
      replaces: current.actingTokens.filter((token) => token !== visitor),
    };
    const session = await sessions.start(userId, options, { data, inherits });
    await current.endIfTooLate('login()', session);
    current.isPersistent = persistent;
    current.signIn(session, cookies !== null);
    current.setCookie(session);
    current.clearVisitorCookie();
    // What an earlier logout of this request has asked for would delete data of the new session.
    if (clearSiteData.length > 0) exchange.reply()?.clearSiteData(policy, []);
    // Last, so that a failed login takes nothing from the visitor. A visitor's session that is left over signs no one
    // in.
    if (data !== undefined && visitor !== null) await sessions.endVisitor(visitor, session, data, keep).catch(() => {});
    else if (visitor !== null) await manager.deleteToken(visitor).catch(() => false);
    return session.token;
  });
}

export function logOut(current: CurrentSession<unknown>, { everywhere }: CheckedLogoutOptions): Promise<void> {
  const { policy, exchange } = current;
  const { manager, clearSiteData } = policy;
  return current.inTurn(async () => {
    const { acting, cookies } = current.tokens;
    const refusal = current.tokens.refusal ?? current.visitor.refusal;
    if (current.failure !== null && (everywhere || refusal !== null)) {
      // Needs no store: an outage may have come on top of the conflict.
      if (refusal?.code === 'ERR_TOKEN_CONFLICT') current.clearCookie();
      throw current.failure;
    }
    const wasLive = current.user !== null;
    const ownsCookie = current.isInCookie || cookies.some((token) => acting.includes(token) && manager.isToken(token));
    const user = everywhere ? current.user : null;
    const others = current.actingTokens.filter((token) => user === null || token !== current.token);
    const ended = await Promise.all([
      user !== null && manager.deleteUserToken(user.id),
      ...others.map((token) => manager.deleteToken(token)),
    ]);
    // When the session was replaced, or ended after this request began, a newer login may own the cookie.
    const { ending, hasEnded } = current;
    const wasDead = !wasLive && !hasEnded && ending !== null && ending.reason !== 'replaced';
    const isOver = wasDead || ended.some(Boolean);
    if (isOver && ownsCookie) current.clearCookie();
    if (isOver) current.clearVisitorCookie();
    if (isOver && clearSiteData.length > 0) exchange.reply()?.clearSiteData(policy, clearSiteData);
    current.signOut(null);
  });
}

/**
 * Continues with a live session that the host has verified, if no user is signed in, and sets its cookie. Does nothing
 * for a page of another origin, beside a token in the header, or if the user of the request could not be determined.
 */
export function adoptSession(current: CurrentSession<unknown>, token: string, isPersistent: boolean): Promise<void> {
  return current.inTurn(async () => {
    const { sessions, cookies, data } = current.policy;
    const isTooLate = cookies !== null && current.exchange.isTooLate();
    if (current.user !== null || current.failure !== null || isTooLate || !current.acceptsBeside) return;
    const claims = sessions.readToken(token);
    if (claims !== null && isVisitor(claims)) {
      const visitor = current.session === null ? await sessions.openVisitor(token, data === 'eager') : null;
      if (visitor !== null) current.visitAs(visitor, true, current.freshForMs);
      return;
    }
    const { session } = await sessions.open(token, data === 'eager');
    if (session === null) return;
    current.isPersistent = isPersistent;
    current.signIn(session, cookies !== null);
    current.setCookie(session, current.freshForMs);
    current.clearVisitorCookie(current.freshForMs);
  });
}

/**
 * Gives the client a new token of its session.
 *
 * @param proof `'inherited'` for `rotate()`, `'now'` for `reauthenticated()`.
 * @returns `null` without a user, or when the session has ended meanwhile.
 */
export function rotateToken(current: CurrentSession<unknown>, proof: 'inherited' | 'now'): Promise<string | null> {
  const what = proof === 'now' ? 'reauthenticated()' : 'rotate()';
  return current.inTurn(async () => {
    const { session } = current;
    current.checkKnown();
    if (session === null || session.user === null) return null;
    if (current.isInCookie && current.exchange.isTooLate()) throw headersSent(what);
    const { token, ending } = await current.policy.sessions.rotate(session.token, proof);
    if (token === null) {
      current.signOut(ending);
      return null;
    }
    if (current.isInCookie && current.exchange.isTooLate()) throw headersSent(what);
    const next = session.withToken(token);
    current.signIn(next, current.isInCookie);
    if (current.isInCookie) current.setCookie(next);
    return token;
  });
}

const FIRST_WRITE = "the first write of a visitor's session data";

/** Starts a visitor's session with this data. `false`: the request has a session by now. */
export function startVisit(current: CurrentSession<unknown>, entries: SessionEntries): Promise<boolean> {
  return current.inTurn(async () => {
    if (current.session !== null) return false;
    current.checkMaySetCookie(FIRST_WRITE);
    await beginVisit(current, FIRST_WRITE, entries, true);
    return true;
  });
}

/** Moves a visitor's data to a new session, under a new token, and ends the old one. Gives the token. */
export function renewVisit(current: CurrentSession<unknown>, token: string): Promise<string | null> {
  const { sessions } = current.policy;
  return current.inTurn(async () => {
    // Another call has signed in or out meanwhile.
    if (current.token !== token) return current.user === null ? current.token : null;
    const { isInCookie } = current.visitor;
    if (isInCookie) current.checkMaySetCookie('rotate()');
    const data = await sessions.storedData(token, null);
    if (data === null) {
      current.signOut(null);
      // Another request has ended it. A new one would replace the cookie of the session that it goes on as.
      current.hasEnded = true;
      return null;
    }
    const next = await beginVisit(current, 'rotate()', data, isInCookie);
    await sessions.endVisitor(token, next, data, null);
    return next.token;
  });
}

async function beginVisit<Detail>(
  current: CurrentSession<Detail>,
  what: string,
  entries: SessionEntries,
  isInCookie: boolean,
): Promise<OpenedSession<Detail>> {
  const visitor = await current.policy.sessions.startVisitor(entries);
  if (isInCookie) await current.endIfTooLate(what, visitor);
  current.visitAs(visitor, isInCookie);
  return visitor;
}

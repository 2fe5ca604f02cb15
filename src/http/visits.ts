/* How a visitor's session starts, and gets a new token. */
import type { OpenedSession } from '../manager/opened-session';
import type { SessionEntries } from '../store/store';
import type { CurrentSession } from './current-session';

const FIRST_WRITE = "the first write of a visitor's session data";

/** Starts a visitor's session with this data. `false`: the request has a session by now. */
export function startVisit(current: CurrentSession<unknown>, entries: SessionEntries): Promise<boolean> {
  return current.inTurn(async () => {
    if (current.session !== null) return false;
    current.checkMaySetCookie(FIRST_WRITE);
    await beginVisit(current, FIRST_WRITE, entries);
    return true;
  });
}

/** Moves a visitor's data to a new session, under a new token, and ends the old one. Gives the token. */
export function renewVisit(current: CurrentSession<unknown>, token: string): Promise<string | null> {
  const { sessions } = current.policy;
  return current.inTurn(async () => {
    // Another call has signed in or out meanwhile.
    if (current.token !== token) return current.user === null ? current.token : null;
    current.checkMaySetCookie('rotate()');
    const data = await sessions.storedData(token, null);
    if (data === null) {
      current.signOut(null);
      return null;
    }
    const next = await beginVisit(current, 'rotate()', data);
    await sessions.endVisitor(token, next, data, null);
    return next.token;
  });
}

async function beginVisit<Detail>(
  current: CurrentSession<Detail>,
  what: string,
  entries: SessionEntries,
): Promise<OpenedSession<Detail>> {
  const visitor = await current.policy.sessions.startVisitor(entries);
  await current.endIfTooLate(what, visitor);
  current.visitAs(visitor);
  return visitor;
}

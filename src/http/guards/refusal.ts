import type { Ending } from '../../errors/session-error';
import type { CurrentSession } from '../session/current-session';
import { isPageRequest, loginLocation } from './return-to';

/** The answer to a request that a guard refuses. */
export interface Refusal {
  status: number;
  /** `Vary` is added to the response's own. */
  headers: Readonly<Record<string, string>>;
  body: { error: string } & Partial<Ending>;
}

/** A refusal is for one client, until a login. */
const NO_STORE = { 'Cache-Control': 'no-store' };

/**
 * Judges a request that needs a user.
 *
 * @param loginPage where to send browsers; `null` for nowhere.
 * @throws the failure that leaves the user unknown.
 */
export function userRefusal(current: CurrentSession<unknown>, loginPage: string | null): Refusal | null {
  if (current.user !== null) return null;
  const { policy, exchange, failure } = current;
  if (failure !== null && !current.isConflict) throw current.withErrorHeaders(failure);
  const headers = { ...policy.header?.challenge, ...NO_STORE };
  const body = { error: 'unauthenticated', ...current.ending };
  if (loginPage === null) return { status: 401, headers, body };
  if (!isPageRequest(exchange.method, exchange.header('accept'))) {
    return { status: 401, headers: { ...headers, Vary: 'Accept' }, body };
  }
  const location = { Location: loginLocation(loginPage, exchange.url) };
  return { status: 303, headers: { ...location, ...NO_STORE, Vary: 'Accept' }, body };
}

/**
 * Judges a request that needs a recent proof. Asks the store where the near cache has answered.
 *
 * @throws or rejects as {@link userRefusal}, and when the store can't answer.
 */
export async function recencyRefusal(current: CurrentSession<unknown>, seconds: number): Promise<Refusal | null> {
  const { session } = current;
  if (session?.isFromMemory) {
    try {
      const ending = await current.policy.sessions.endingNow(session.token);
      session.isFromMemory = false;
      // Unless a login has taken its place meanwhile.
      if (ending !== null && current.session?.id === session.id) current.signOut(ending);
    } catch (error) {
      throw current.withErrorHeaders(error as Error);
    }
  }
  // Not before that call, during which another verb of the request may have signed someone else in or out.
  const { session: judged } = current;
  if (judged === null || judged.user === null) return userRefusal(current, null);
  if (judged.actor !== null) return reauthenticationRequired();
  const { checkedAt, authenticatedAt } = judged;
  // A proof in the future dates from before the clock was set back: its age is unknown.
  const isRecent = Math.abs(checkedAt.getTime() - authenticatedAt.getTime()) <= seconds * 1000;
  return isRecent ? null : reauthenticationRequired();
}

/** The user is signed in, but the last proof is too old. */
function reauthenticationRequired(): Refusal {
  return { status: 403, headers: NO_STORE, body: { error: 'reauthentication_required' } };
}

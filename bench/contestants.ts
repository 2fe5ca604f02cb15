/* What the measured programs have in common. */
import { RedisStore, TokenManager, type TokenManagerOptions } from 'tokensession';

/** The signing key of all contestants. */
export const SECRET = 'a secret that is long enough to be one';

/** Seconds that a session of any contestant lives without a request. */
export const TTL = 7 * 24 * 3600;

/** Milliseconds for a call whose time is measured: a busy machine shows in the times, and fails nothing. */
export const PATIENT_MS = 10_000;

export type ManagerOptions<Detail = unknown> = Omit<TokenManagerOptions<Detail>, 'store' | 'secret'>;

/** @param timeoutMs that of the store. Default: the store's own. */
export function managerOn<Detail = unknown>(
  url: string,
  options: ManagerOptions<Detail> = {},
  timeoutMs?: number,
): TokenManager<Detail> {
  return new TokenManager({ store: new RedisStore(url, { timeoutMs }), secret: SECRET, ttl: TTL, ...options });
}

/** As many user ids of one length. */
export function userIds(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `user-${String(index).padStart(5, '0')}`);
}

/** Signs users in and returns their tokens. All at once, some could time out on a busy machine. */
export async function signIn(
  manager: Pick<TokenManager, 'setToken'>,
  ids: readonly string[],
  atATime = 1,
): Promise<string[]> {
  const tokens: string[] = [];
  for (let first = 0; first < ids.length; first += atATime) {
    const some = ids.slice(first, first + atATime);
    tokens.push(...(await Promise.all(some.map((id) => manager.setToken(id)))));
  }
  return tokens;
}

/** Stores data of this many bytes in a session, in one value. */
export async function storeData(manager: TokenManager, token: string, bytes: number): Promise<void> {
  const key = 'cart';
  await manager.sessionData(token).set(key, 'x'.repeat(bytes - key.length - '""'.length));
}

export function contestantNamed<Contestant>(name: string, contestants: Record<string, Contestant>): Contestant {
  const contestant = contestants[name];
  if (contestant === undefined) throw new Error(`there is no contestant ${name}`);
  return contestant;
}

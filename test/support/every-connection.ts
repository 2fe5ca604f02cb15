import { randomUUID } from 'node:crypto';
import { type HealthReport, RedisStore, type RedisStoreOptions, TokenManager } from 'tokensession';
import { PATIENT, SECRET } from './stores';
import { until } from './until';

/** The result of {@link useEveryConnection} when everything works. */
export const ALL_IS_WELL = { health: { status: 'up', reasons: [] }, kicked: 1 };

type Target = ConstructorParameters<typeof RedisStore>[0];

/**
 * Logs a user in, checks the session until the near cache answers, and kicks the user from another service. That uses
 * each kind of connection that a store opens: for calls, for announcements, and for confirmations by replicas.
 */
export async function useEveryConnection(
  target: Target,
  options: RedisStoreOptions = {},
): Promise<{ health: Pick<HealthReport, 'status' | 'reasons'>; kicked: number }> {
  const durability = { replicas: 1, timeoutMs: PATIENT.timeoutMs };
  const [near, far] = [{ maxAgeMs: 60_000 }, false].map((cache) => {
    const store = new RedisStore(target, { ...PATIENT, durability, ...options });
    return new TokenManager({ store, secret: SECRET, cache });
  }) as [TokenManager, TokenManager];
  try {
    const userId = randomUUID();
    const token = await near.setToken(userId);
    await until('memory answers', async () => {
      const { hits = 0 } = near.cacheStats ?? {};
      return (await near.checkToken(token))?.user.id === userId && (near.cacheStats?.hits ?? 0) > hits;
    });
    const { status, reasons } = await near.health();
    const kicked = await far.deleteUserToken(userId);
    await until('the kick is announced', async () => (await near.checkToken(token)) === null);
    return { health: { status, reasons }, kicked };
  } finally {
    await Promise.all([near.close(), far.close()]);
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { type RedisAddress, RedisStore, TokenManager } from 'tokensession';

/* A program that runs while its Redis stops and restarts. An uncaught error, or one that is no 503, ends it. */
async function main(): Promise<void> {
  const { REDIS_URL, REDIS_CLUSTER } = process.env;
  const target = REDIS_CLUSTER === undefined ? REDIS_URL : { cluster: JSON.parse(REDIS_CLUSTER) as RedisAddress[] };
  const store = new RedisStore(target, { timeoutMs: 200, durability: { replicas: 1 } });
  const sessions = new TokenManager({ store, secret: 'a secret for tests, long enough to sign with' });
  const end = performance.now() + 5000;
  let failed = 0;
  while (performance.now() < end || failed === 0) {
    const token = await sessions.setToken('ada').catch((error) => {
      expectUnavailable(error);
      return '';
    });
    const calls = [
      sessions.touchToken(token),
      sessions.deleteToken(token),
      sessions.deleteUserToken('ada'),
      sessions.health(),
    ];
    for (const outcome of await Promise.allSettled(calls)) {
      if (outcome.status === 'fulfilled') continue;
      expectUnavailable(outcome.reason);
      failed++;
    }
    await sleep(10);
  }
  await sessions.close();
  console.log(failed > 0 ? 'went on' : 'nothing failed');
}

function expectUnavailable(error: { status?: unknown }): void {
  if (error.status !== 503) throw error;
}

void main();

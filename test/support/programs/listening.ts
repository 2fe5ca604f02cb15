import { setTimeout as sleep } from 'node:timers/promises';
import { RedisStore, TokenManager } from 'tokensession';

/* A program behind sentinels that lasts longer than it takes to look for a lost one again. */
async function main(): Promise<void> {
  const store = new RedisStore(JSON.parse(process.env.REDIS_SENTINEL_SETTINGS ?? '{}'), { timeoutMs: 10_000 });
  const sessions = new TokenManager({ store, secret: 'a secret for tests, long enough to sign with' });
  await sessions.setToken('ada');
  await sleep(5500);
  await sessions.close();
}

void main();

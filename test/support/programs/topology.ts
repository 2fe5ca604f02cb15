import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { type RedisAddress, RedisStore, TokenManager } from 'tokensession';

/*
 * Checks sessions of many users, with a near cache, for LASTS_MS, under any failure of the servers. Then it closes its
 * manager, and a client of its own: the process must end by itself. An uncaught error ends it with a failure.
 */
async function main(): Promise<void> {
  const { REDIS_CLUSTER, REDIS_SENTINELS, OWN_CLIENT, LASTS_MS } = process.env;
  const nodes = JSON.parse(REDIS_CLUSTER ?? 'null') as RedisAddress[] | null;
  const watched = JSON.parse(REDIS_SENTINELS ?? 'null') as {
    sentinels: { host: string; port: number }[];
    name: string;
  };
  const client = OWN_CLIENT === undefined ? null : nodes === null ? new Redis(watched) : new Cluster(nodes);
  client?.on('error', () => undefined);
  const store = new RedisStore(client ?? (nodes === null ? watched : { cluster: nodes }));
  const sessions = new TokenManager({
    store,
    secret: 'a secret for tests, long enough to sign with',
    cache: { heartbeatMs: 1000, maxAgeMs: 60_000 },
  });
  const users = ['ada', 'bob', 'eve', 'joe', 'kim', 'liz'];
  const signIn = async (user: string): Promise<string> => sessions.setToken(user).catch(() => signIn(user));
  const tokens = await Promise.all(users.map(signIn));
  // Reports that it has begun.
  await signIn('zoe');
  const end = performance.now() + Number(LASTS_MS);
  while (performance.now() < end || sessions.cacheStats?.hits === 0) {
    await Promise.allSettled(tokens.map((token) => sessions.touchToken(token)));
    await sleep(10);
  }
  await sessions.close();
  if (client !== null) {
    console.log(client.status);
    client.disconnect();
  }
  console.log('closed');
}

void main();

/*
 * The example program of the Go library gosession, step by step: npx tsx examples/gosession.ts
 * Sessions are in memory, or in Redis with REDIS_URL=redis://localhost:6379, REDIS_SENTINELS or REDIS_CLUSTER.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { TokenManager } from 'tokensession';
import { fail, reasonOf, storeFromEnvironment } from './settings';

const sessions = new TokenManager({
  store: storeFromEnvironment({ userKeyPrefix: 'go-user', tokenKeyPrefix: 'go-token' }),
  secret: randomBytes(32).toString('base64url'),
  ttl: 600,
  getUserInfo: (id) => ({ detail: id }),
});

async function main(): Promise<void> {
  const user = '000001';
  const token = await sessions.setToken(user, 2);
  for (let i = 0; i < 3; i++) await sessions.setToken(user, 100);
  await list(user);

  const session = await sessions.checkTokenOrUpdateUser(token, 10);
  console.log(
    session === null
      ? 'check: gone'
      : `check: user ${session.user.id}, detail ${JSON.stringify(session.user.detail)}, ${session.ttl} s left`,
  );

  console.log(`refresh to 5 s: ${await sessions.refreshToken(token, 5)}`);
  await check(token);

  console.log('wait 10 s');
  await sleep(10_000);
  await check(token);
  await list(user);

  console.log(`delete all: ${await sessions.deleteUserToken(user)}`);
  await list(user);
}

async function check(token: string): Promise<void> {
  const session = await sessions.checkToken(token);
  console.log(session === null ? 'check: gone' : `check: user ${session.user.id}, ${session.ttl} s left`);
}

async function list(user: string): Promise<void> {
  console.log(`list: ${(await sessions.listUserToken(user)).length} tokens`);
}

main()
  .finally(() => sessions.close())
  .catch((error: Error) => fail(reasonOf(error)));

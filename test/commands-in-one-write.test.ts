import { once } from 'node:events';
import { Redis } from 'ioredis';
import { RedisStore } from 'tokensession';
import { closeAfterEach } from './support/closing';
import { type RedisServer, startRedis } from './support/redis-server';
import { PATIENT, randomPrefixes } from './support/stores';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const closing = closeAfterEach();
const TAG = 'a'.repeat(22);

it('a lone call is sent at once; calls made while it is in flight are sent in one write', async () => {
  const client = new Redis(server.url, { enableOfflineQueue: false, socketTimeout: 5000 });
  closing(() => client.disconnect());
  await once(client, 'ready');
  const store = new RedisStore(client, { ...PATIENT, ...randomPrefixes() });
  closing(() => store.close());
  await store.getBan(TAG);
  const write = jest.spyOn(client.stream, 'write');
  const uncork = jest.spyOn(client.stream, 'uncork');

  const alone = store.getBan(TAG);
  expect(write).toHaveBeenCalledTimes(1);
  const others = Array.from({ length: 5 }, () => store.getBan(TAG));
  expect(write).toHaveBeenCalledTimes(1);
  expect(await Promise.all([alone, ...others])).toEqual(Array.from({ length: 6 }, () => null));
  expect(write).toHaveBeenCalledTimes(6);
  expect(uncork).toHaveBeenCalledTimes(1);
});

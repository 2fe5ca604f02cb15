import { once } from 'node:events';
import { Redis } from 'ioredis';
import { RedisStore } from 'tokensession';
import { closeAfterEach } from '../support/closing';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes } from '../support/stores';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const closing = closeAfterEach();
const TAG = 'a'.repeat(22);

async function startWriting() {
  const client = new Redis(server.url, { enableOfflineQueue: false, socketTimeout: 5000 });
  closing(() => client.disconnect());
  await once(client, 'ready');
  const store = new RedisStore(client, { ...PATIENT, ...randomPrefixes() });
  closing(() => store.close());
  await store.getBan(TAG);
  const { stream } = client;
  const write = jest.spyOn(stream, 'write');
  const uncork = jest.spyOn(stream, 'uncork');
  /** For each write, whether others may join it. */
  const isJoined: boolean[] = [];
  write.mockImplementation((...args) => {
    isJoined.push(stream.writableCorked > 0);
    return (Object.getPrototypeOf(stream) as typeof stream).write.apply(stream, args);
  });
  return { store, write, uncork, isJoined };
}

/** Resolves before any timer or answer. */
const soon = () => new Promise<void>((resolve) => process.nextTick(resolve));

it('a lone call waits for no turn of the event loop; calls made while it is in flight are sent in one write', async () => {
  const { store, write, uncork } = await startWriting();
  const alone = store.getBan(TAG);
  await soon();
  expect(write).toHaveBeenCalledTimes(1);
  const others = Array.from({ length: 5 }, () => store.getBan(TAG));
  await soon();
  expect(write).toHaveBeenCalledTimes(1);
  expect(await Promise.all([alone, ...others])).toEqual(Array.from({ length: 6 }, () => null));
  expect(write).toHaveBeenCalledTimes(6);
  expect(uncork).toHaveBeenCalledTimes(1);
});

it('calls that follow answers which arrived together are sent in one write', async () => {
  const { store, uncork, isJoined } = await startWriting();
  const first = Array.from({ length: 5 }, () => store.getBan(TAG));
  await Promise.all(first.map((call) => call.then(() => store.getBan(TAG))));
  expect(isJoined).toEqual(Array(10).fill(true));
  expect(uncork).toHaveBeenCalledTimes(2);
});

it('after calls that were sent together, the first call of a turn waits for those of other requests', async () => {
  const { store, isJoined } = await startWriting();
  await Promise.all(Array.from({ length: 5 }, () => store.getBan(TAG)));
  const calls: Promise<unknown>[] = [];
  for (let request = 0; request < 5; request++) {
    calls.push(store.getBan(TAG));
    await soon();
  }
  await Promise.all(calls);
  expect(isJoined).toEqual(Array(10).fill(true));
});

import { readFileSync } from 'node:fs';
import { Cluster, Redis, SentinelConnector } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import { createRedisClient, RedisStore } from 'tokensession';
import { SUPPORTED } from '../../src/redis/client/ioredis-members';

const versionIn = (file: string) => JSON.parse(readFileSync(file, 'utf8')).version;
const INSTALLED = versionIn(require.resolve('ioredis/package.json'));

let restore: () => void = () => undefined;
afterEach(() => restore());

it.each<[string, object]>([
  ['Redis.silentEmit', Redis.prototype],
  ['Redis.handleReconnection', Redis.prototype],
  ['Cluster.refreshSlotsCache', Cluster.prototype],
  ['SentinelConnector.connectToSentinel', SentinelConnector.prototype],
])('an ioredis without %s is refused by a sentence with its version and the supported ones', (member, owner) => {
  const name = member.split('.')[1] as string;
  const original = Object.getOwnPropertyDescriptor(owner, name) as PropertyDescriptor;
  restore = () => Object.defineProperty(owner, name, original);
  Object.defineProperty(owner, name, { configurable: true, value: undefined });
  const sentence = `tokensession needs ioredis ${SUPPORTED}: ioredis ${INSTALLED} has no ${member}, which it relies on`;
  expect(() => createRedisClient('redis://127.0.0.1:1')).toThrow(new TypeError(sentence));
  expect(() => new RedisStore('redis://127.0.0.1:1')).toThrow(new TypeError(sentence));
});

it("an application's client without a member is refused, also one of another copy of ioredis", () => {
  const [own, other] = [new Redis({ lazyConnect: true }), new Redis5({ lazyConnect: true })];
  for (const client of [own, other]) Object.assign(client, { select: undefined });
  const sentence = (found: string) =>
    new TypeError(`tokensession needs ioredis ${SUPPORTED}: ${found} has no Redis.select, which it relies on`);
  expect(() => new RedisStore(own)).toThrow(sentence(`ioredis ${INSTALLED}`));
  // Where ioredis 5 is the one that is installed, there is no other copy.
  const isInstalled = (other as unknown) instanceof Redis;
  const found = isInstalled ? `ioredis ${INSTALLED}` : 'the ioredis of this client';
  expect(() => new RedisStore(other as unknown as Redis)).toThrow(sentence(found));
});

it('the supported versions are those of the peer dependency', () => {
  const { peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
  expect(SUPPORTED).toBe(peerDependencies.ioredis);
});

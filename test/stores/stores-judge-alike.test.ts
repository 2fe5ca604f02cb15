import fc from 'fast-check';
import { RedisStore } from 'tokensession';
import { judge } from '../../src/store/store';
import { type RedisServer, startRedis, timeOf } from '../support/redis-server';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';
import { PATIENT, randomPrefixes } from '../support/stores';

jest.setTimeout(PROPERTY_TIMEOUT);

const [TAG, SID] = ['t'.repeat(22), 's'.repeat(22)];
const TTL_MS = 3_600_000;

const ago = fc.oneof(fc.integer({ min: -3000, max: 3000 }), fc.constantFrom(0, 1000, -1000, 100_000, -100_000));
const gen = fc.integer({ min: 0, max: 12 });

/** A record that may have moved on from login, a token, and a grace; moments as milliseconds before now. */
const situation = fc.record({
  moved: fc.option(fc.record({ gen, minted: ago, confirmed: ago, proved: ago })),
  token: fc.record({ gen, minted: ago, proved: ago }),
  graceMs: fc.constantFrom(0, 1000, 2000, 60_000),
  /** Of a record written by hand: the numbers begin with a zero. */
  isPadded: fc.boolean(),
});

describe('the judgement of a token', () => {
  const prefixes = randomPrefixes();
  let server: RedisServer;
  let store: RedisStore;
  beforeAll(async () => {
    server = await startRedis();
    store = new RedisStore(server.url, { ...prefixes, ...PATIENT });
  });
  afterAll(async () => {
    await store.close();
    await server.stop();
  });

  it('by the scripts that write is the one by which check and the memory store go', async () => {
    const key = `${prefixes.tokenKeyPrefix}:{${TAG}}`;
    const property = fc.asyncProperty(situation, async ({ moved, token, graceMs, isPadded }) => {
      const begin = await timeOf(server);
      const parts = [begin, begin, TTL_MS, 0];
      if (moved !== null)
        parts.push(moved.gen, ...[moved.minted, moved.confirmed, moved.proved].map((ms) => begin - ms));
      const written = parts.map((number) => (isPadded ? `0${number}` : number));
      await server.admin.hset(key, 'id', 'ada', 'v', '1', SID, written.join(':'));
      const claims = {
        tag: TAG,
        sid: SID,
        gen: token.gen,
        mintedAt: begin - token.minted,
        provedAt: begin - token.proved,
      };
      const policy = { graceMs, onReuse: 'ignore' } as const;

      const checked = await store.check(TAG, claims, policy);
      const read = await store.readData(TAG, claims, policy, null);
      const touched = await store.touch(TAG, claims, policy, 0);
      const end = await timeOf(server);
      const record = { sid: SID, createdAt: begin, seenAt: begin, ttlMs: TTL_MS, capAt: 0, attributes: {} };
      const held = {
        ...record,
        gen: moved?.gen ?? 0,
        mintedAt: begin - (moved?.minted ?? 0),
        confirmedAt: begin - (moved?.confirmed ?? 0),
        provedAt: begin - (moved?.proved ?? 0),
      };
      const expected = judge(claims, held, graceMs, begin);
      // A grace may end while the store looks.
      fc.pre(expected === judge(claims, held, graceMs, end));
      const isLive = expected !== 'reuse';
      expect([checked, read, touched].map((found) => found !== null && !('reason' in found))).toEqual(
        Array(3).fill(isLive),
      );
      const { gen, mintedAt, provedAt } = expected === 'new' ? claims : held;
      const stored = (await server.admin.hget(key, SID))?.split(':').map(Number) ?? [];
      const [, seen, , , ...kept] = stored;
      expect((seen as number) >= begin).toBe(true);
      expect(kept.length === 0 ? [0, begin, begin] : [kept[0], kept[1], kept[3]]).toEqual([gen, mintedAt, provedAt]);
      expect(isLive || seen === begin).toBe(true);
    });
    await fc.assert(property, runs(500));
  });
});

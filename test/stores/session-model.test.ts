import fc from 'fast-check';
import { RedisStore, TokenManager } from 'tokensession';
import { SessionModel } from '../support/model/session-model';
import { compareAll, rules, steps } from '../support/model/session-steps';
import { memoryWorlds, NOT_WAITING, redisWorlds, WAITING, type WorldFixture } from '../support/model/session-world';
import { ParallelSessions, parallelRows } from '../support/parallel-sessions';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';

jest.setTimeout(PROPERTY_TIMEOUT);

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** The options of two managers, mostly the same. */
const twoRules = fc
  .tuple(rules, fc.option(rules, { nil: undefined }))
  .map(([one, other = one]) => [one, other] as const);

describe('any sequence of operations has the results, reasons and events of a plain model of sessions', () => {
  it('with a MemoryStore', async () => {
    const wait = fc.constantFrom(1, 2, 3, 0.999, 1.001, 0.5, 60, 60.001, 1800, 3600, 100_000);
    await fc.assert(sequences(memoryWorlds(), steps(wait, 60)), runs(400));
  });

  it('with a RedisStore, over two clients', async () => {
    const worlds = redisWorlds(server.url, server.admin, WAITING);
    await fc.assert(sequences(worlds, steps(fc.constantFrom(0.5, 1, 2, 60, 1800, 3600), 60)), runs(60));
  });

  it('with a RedisStore, without waiting for time to pass', async () => {
    const lasting = { ttl: 3600, visitorTtl: 3600, absoluteTtl: null, slideEvery: 0, rotationGrace: 3600 };
    const bothRules = twoRules.map(
      ([one, other]) =>
        [
          { ...one, ...lasting },
          { ...other, ...lasting },
        ] as const,
    );
    const worlds = redisWorlds(server.url, server.admin, NOT_WAITING);
    await fc.assert(sequences(worlds, steps(fc.constant(0), 60), bothRules), runs(60));
  });
});

describe('many parallel operations over two clients of one Redis', () => {
  const limits = fc.record({
    maxSessions: fc.constantFrom(100, 3, 2),
    maxSessionsPerDevice: fc.constantFrom(100, 2, 1),
    onLimit: fc.constantFrom('replace', 'reject'),
    rotationGrace: fc.constantFrom(0, 3600),
    onReuse: fc.constantFrom('end-session', 'ignore'),
  });

  it('exceed no limit, revive no session, leave no banned user signed in, and end each session once', async () => {
    const property = fc.asyncProperty(limits, parallelRows, async (given, rows) => {
      const prefixes = randomPrefixes();
      const managers = [1, 2].map(
        () =>
          new TokenManager({
            store: new RedisStore(server.url, { ...PATIENT, ...prefixes }),
            secret: SECRET,
            ...given,
          }),
      );
      try {
        const sessions = new ParallelSessions(managers);
        await sessions.run(rows);
        await compareParallel(sessions, managers[0] as TokenManager, given);
      } finally {
        await Promise.all(managers.map((manager) => manager.close()));
      }
    });
    await fc.assert(property, runs(100));
  });
});

async function compareParallel(
  { tokens, dead, started, ended }: ParallelSessions,
  manager: TokenManager,
  { maxSessions, maxSessionsPerDevice }: { maxSessions: number; maxSessionsPerDevice: number },
): Promise<void> {
  // Checking an old token may end the session as a reuse.
  const endedBefore = ended.length;
  let live = 0;
  for (const [userId, issued] of tokens) {
    const listed = await manager.listUserSessions(userId);
    live += listed.length;
    expect(listed.length).toBeLessThanOrEqual(maxSessions);
    for (const device of ['web', 'tv']) {
      const alike = listed.filter(({ attributes }) => attributes.device === device);
      expect(alike.length).toBeLessThanOrEqual(maxSessionsPerDevice);
    }
    if ((await manager.getBan(userId)) !== null) expect(listed).toEqual([]);

    const ids = listed.map(({ id }) => id);
    for (const [index, token] of (await manager.listUserToken(userId)).entries()) {
      expect(await manager.checkToken(token)).toMatchObject({ id: ids[index], token, user: { id: userId } });
      expect(issued).toContain(token);
      expect(dead).not.toContain(token);
    }
    for (const token of issued) {
      const session = await manager.checkToken(token);
      if (session === null) continue;
      expect(ids).toContain(session.id);
      expect(dead).not.toContain(token);
    }
  }
  expect(new Set(ended).size).toBe(ended.length);
  expect(live).toBe(started.size - endedBefore);
}

function sequences(worlds: WorldFixture, sequence: ReturnType<typeof steps>, given = twoRules) {
  return fc.asyncProperty(given, sequence, async (bothRules, all) => {
    const world = await worlds.open(bothRules);
    try {
      const model = new SessionModel(world.clock.msPerSecond);
      await fc.asyncModelRun(() => ({ model, real: world }), all);
      await compareAll(model, world);
    } finally {
      await worlds.close(world);
    }
  });
}

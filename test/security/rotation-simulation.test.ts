import fc from 'fast-check';
import { type RedisServer, startRedis } from '../support/redis-server';
import { type Exchange, type History, histories } from '../support/rotation/history';
import { type RotationOutcome, RotationSimulation } from '../support/rotation/simulation';
import { memoryRotationWorld, type RotationWorld, redisRotationWorld } from '../support/rotation/world';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';

jest.setTimeout(PROPERTY_TIMEOUT);

const GRACE_MS = 200;

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

async function outcomeOf(world: RotationWorld, history: History): Promise<RotationOutcome> {
  try {
    return await new RotationSimulation(world, history).run();
  } finally {
    await world.close();
  }
}

function expectPromises({ theft }: History, outcome: RotationOutcome): void {
  const { isOwnerSignedOut, excuses, reuses, revivals, leakedMs } = outcome;
  expect({ revivals, leakedMs }).toEqual({ revivals: 0, leakedMs: 0 });
  if (theft !== null) expect(reuses).toBe(1);
  else if (excuses.size === 0) expect({ isOwnerSignedOut, reuses }).toEqual({ isOwnerSignedOut: false, reuses: 0 });
}

describe.each([
  ['an owner alone is signed out only by slow answers, or by rotations that overtake each other', false],
  ['a thief gets no newer proof, and is found when both go on after the next rotation', true],
])('%s', (_name, isStolen) => {
  it('with a MemoryStore', async () => {
    const property = fc.asyncProperty(histories({ isStolen }), async (history) => {
      expectPromises(history, await outcomeOf(memoryRotationWorld(), history));
    });
    await fc.assert(property, runs(500));
  });

  it('with a RedisStore, several sessions at once', async () => {
    const several = fc.array(histories({ isStolen }), { minLength: 12, maxLength: 12 });
    const property = fc.asyncProperty(several, async (all) => {
      const outcomes = await Promise.all(
        all.map((history) => outcomeOf(redisRotationWorld(server, GRACE_MS), history)),
      );
      for (const [index, history] of all.entries()) expectPromises(history, outcomes[index] as RotationOutcome);
    });
    await fc.assert(property, { ...runs(1), endOnFailure: true });
  });
});

it('lost responses sign no user out, in any number', async () => {
  const exchanges = Array.from({ length: 20 }, (_, index): Exchange => {
    const kind = index % 3 === 0 ? 'reauthenticate' : 'rotate';
    return { at: 15 * index, kind, there: 1, back: 1, isAnswerLost: true };
  });
  const outcome = await outcomeOf(memoryRotationWorld(), { exchanges, theft: null, failover: null });
  expect(outcome).toMatchObject({ isOwnerSignedOut: false, reuses: 0 });
});

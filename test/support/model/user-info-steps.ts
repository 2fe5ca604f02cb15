import fc from 'fast-check';
import type { StoredSession } from 'tokensession';
import { loadVersionOf } from '../../../src/store/store';
import {
  claimsOf,
  compare,
  compareEnded,
  manager,
  policyOf,
  rulesOf,
  type Step,
  seconds,
  step,
  tokenIndex,
  tokenStep,
  user,
} from './model-step';
import { VISITOR } from './session-model';
import { type SessionWorld, tagOf } from './session-world';
import { MAX_LOAD } from './user-info-model';

const text = fc.constantFrom('{"name":"a: \\n é"}', '"text"', '[1]');

/** Loads of user info: their start, their result, and changes in between. */
export const loads: fc.Arbitrary<Step>[] = [
  ...[1, 2].map(() => fc.tuple(manager, tokenIndex).map(([index, which]) => checkLoad(index, which))),
  fc.record({ manager, user }).map((given) =>
    step('renewUserInfo', given, async (model, world) => {
      const { manager: index, user: userId } = given;
      const tag = tagOf(userId);
      const outcome = await world.call(model, index, (_, store) => store.renewUserInfo(tag));
      const version = outcome.gives as number;
      const info = model.infoOf(userId);
      expectMoment(world, version, info.nextVersion(model.now));
      info.renew(version);
      world.loads.push({ userId, version });
    }),
  ),
  ...[1, 2].map(() =>
    fc.record({ manager, load: fc.nat({ max: 4 }), found: fc.option(text, { freq: 4 }), seconds }).map((given) =>
      step('end of a load', given, async (model, world) => {
        const { manager: index, load, found, seconds: ttl } = given;
        const begun = world.loads[world.loads.length - 1 - (load % world.loads.length)];
        if (begun === undefined) return;
        const { userId, version } = begun;
        const tag = tagOf(userId);
        const ttlMs = ttl * world.clock.msPerSecond;
        const outcome = await world.call(
          model,
          index,
          async (_, store) => {
            if (found !== null) return store.setUserInfo(tag, found, 1000 * ttl, version);
            return (await store.endAll(tag, { except: null, message: null, goneAtVersion: version })).toSorted();
          },
          [version + ttlMs, version + MAX_LOAD],
        );
        const { now } = model;
        const gives =
          found === null ? model.gone(userId, version).sort() : model.infoOf(userId).keep(found, ttlMs, version, now);
        compare(world, outcome, { gives, events: [] });
      }),
    ),
  ),
  fc.record({ manager, user }).map((given) =>
    step('deleteUser', given, async (model, world) => {
      const { manager: index, user: userId } = given;
      const outcome = await world.call(model, index, (sessions) => sessions.deleteUser(userId));
      compare(world, outcome, { gives: model.infoOf(userId).forget(model.now), events: [] });
    }),
  ),
];

/** Begins a load by a check, which returns the cached info. */
export function checkLoad(index: number, which: number): Step {
  return tokenStep('check', { manager: index, token: which }, async (model, world, issued) => {
    const rules = rulesOf(world, index);
    const { tag, ...claims } = claimsOf(issued);
    const outcome = await world.call(model, index, (_, store) => store.check(tag, { tag, ...claims }, policyOf(rules)));
    const seen = model.find(issued, rules);
    if (!('session' in seen)) return compareEnded(world, outcome, seen, issued);
    const { userId, userInfo, ...found } = outcome.gives as StoredSession;
    const version = loadVersionOf(found);
    const info = model.infoOf(userId);
    expect({ userId, userInfo }).toEqual({ userId: issued.userId, userInfo: info.text(model.now) });
    expectMoment(world, version, info.version(model.now));
    info.begin(version);
    if (userId !== VISITOR) world.loads.push({ userId, version });
  });
}

/** A version is at least the expected one, and exceeds it at most by the uncertainty of the clock. */
function expectMoment({ uncertaintyMs }: SessionWorld, version: number, expected: number): void {
  expect(version).toBeGreaterThanOrEqual(expected);
  expect(version).toBeLessThanOrEqual(expected + uncertaintyMs);
}

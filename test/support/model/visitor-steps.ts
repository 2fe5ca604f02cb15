import fc from 'fast-check';
import type { RequestSessions } from '../../../src/manager/request-sessions';
import { requestSessionsOf } from '../../../src/manager/token-manager';
import type { Entries } from './data-model';
import { entries, sorted } from './data-steps';
import { compare, compareToken, manager, rulesOf, type Step, step, tokenIndex, tokenStep } from './model-step';
import { type SessionModel, VISITOR } from './session-model';
import type { IssuedToken, SessionWorld } from './session-world';

/** Visits: their start, and later requests. Other steps use their tokens among all the others. */
export const visits: fc.Arbitrary<Step>[] = [
  ...[1, 2].map(() =>
    fc.record({ manager, data: entries }).map((given) =>
      step('startVisitor', given, async (model, world) => {
        const { manager: index, data } = given;
        const outcome = await world.call(model, index, async (sessions) =>
          requestSessionsOf(sessions).startVisitor(data),
        );
        const { token, user, id, expiresAt } = outcome.gives as Awaited<
          ReturnType<RequestSessions<unknown>['startVisitor']>
        >;
        const issued = world.issue(VISITOR, token);
        compareToken(world, index, issued, { ...issued, gen: 0, mintedAt: model.now, provedAt: model.now });
        const session = model.visit(issued, data, rulesOf(world, index));
        const expected = { user: null, id: session.id, expiresAt: new Date(model.expiryOf(session)) };
        compare(world, { ...outcome, gives: { user, id, expiresAt } }, { gives: expected, events: [] });
      }),
    ),
  ),
  fc.record({ manager, token: tokenIndex, withData: fc.boolean() }).map((given) =>
    tokenStep('openVisitor', given, async (model, world, issued) => {
      const { manager: index, withData } = given;
      const outcome = await world.call(model, index, async (sessions) => {
        const visitor = await requestSessionsOf(sessions).openVisitor(issued.token, withData);
        if (visitor === null) return null;
        const { user, id, expiresAt, data } = visitor;
        return { user, id, expiresAt, data: data && sorted(data) };
      });
      const seen = issued.userId === VISITOR ? model.find(issued, rulesOf(world, index)) : [];
      if (!('session' in seen)) return compare(world, outcome, { gives: null, events: [] });
      const { session } = seen;
      model.use(session, issued, rulesOf(world, index));
      const data = withData ? sorted(session.data.read(null)) : null;
      const gives = { user: null, id: session.id, expiresAt: new Date(model.expiryOf(session)), data };
      compare(world, outcome, { gives, events: [] });
    }),
  ),
];

/** Data that a login keeps from a session that came with it: whose token, and which keys. */
export const keptData = fc.record({
  token: tokenIndex,
  keys: fc.subarray(['cart', 'n', '__proto__'], { minLength: 1 }),
});

/** Reads the data that a login keeps. */
export async function readKept(
  model: SessionModel,
  world: SessionWorld,
  index: number,
  issued: IssuedToken,
  keys: readonly string[],
): Promise<Entries> {
  const outcome = await world.call(model, index, (sessions) =>
    requestSessionsOf(sessions).storedData(issued.token, keys),
  );
  const seen = model.find(issued, rulesOf(world, index));
  const kept = new Map('session' in seen ? seen.session.data.read(keys) : []);
  const absence =
    'session' in seen ? null : (seen.find(({ events }) => events.length === outcome.events.length) ?? seen[0]);
  const gives = sorted(outcome.gives as Entries);
  compare(world, { ...outcome, gives }, { gives: sorted(kept), events: absence?.events ?? [] });
  return kept;
}

import fc from 'fast-check';
import type { DataChange, DataLimits, ReusePolicy, SessionData, Store, TokenClaims } from 'tokensession';
import type { DataModel, Entries } from './data-model';
import {
  claimsOf,
  compare,
  compareEnded,
  manager,
  policyOf,
  rulesOf,
  type Step,
  tokenIndex,
  tokenStep,
} from './model-step';
import type { Outcome } from './session-world';

type Values = Record<string, unknown>;
type Changes = ReadonlyMap<string, string | null>;
type Condition = { key: string; json: string | null } | undefined;

const KEYS = ['cart', 'n', '__proto__', 'é 💚'] as const;
const TEXTS = ['1', '-0.5', '1e+308', '"dark"', 'null', '{"a":[]}', '"💚é"', `"${'x'.repeat(20)}"`] as const;

const key = fc.constantFrom(...KEYS);
const json = fc.constantFrom(...TEXTS);
const wantedKeys = fc.option(fc.subarray([...KEYS, 'nothing']), { nil: null, freq: 3 });
/** Mostly beyond every need here, otherwise so small that some data exceeds it. */
const limits: fc.Arbitrary<DataLimits> = fc.record({
  maxBytes: fc.constantFrom(65_536, 30, 12),
  maxKeys: fc.constantFrom(1000, 2, 1),
});
const changes = fc
  .oneof(
    fc.uniqueArray(fc.tuple(key, fc.option(json, { nil: null })), { selector: ([name]) => name, minLength: 1 }),
    key.map((name): [string, null][] => [[name, null]]),
  )
  .map((pairs): Changes => new Map<string, string | null>(pairs));
/** `'as it is'` if it is within the limits. */
const condition = fc.option(fc.record({ key, json: fc.constantFrom('as it is', null, '1') }), { nil: undefined });
const addition = fc.record({ key, by: fc.constantFrom(1, -1, 0.1, 2.5, 1e308) });

/** The initial data of a session. */
export const entries: fc.Arbitrary<Entries> = fc
  .uniqueArray(fc.tuple(key, json), { selector: ([name]) => name, minLength: 1 })
  .map((pairs) => new Map(pairs));

/** The limits of a manager. */
const MANY: DataLimits = { maxBytes: 65_536, maxKeys: 200 };
const NO_SESSION = { rejects: 'ERR_NO_SESSION' };

/** How a method changes the store and the model. The data before is given. */
interface Verb<Given> {
  act(store: Store, claims: TokenClaims, policy: ReusePolicy, given: Given, data: DataModel): Promise<unknown>;
  change(data: DataModel, given: Given): unknown;
}

const read: Verb<{ keys: string[] | null }> = {
  act: (store, claims, policy, { keys }) => store.readData(claims.tag, claims, policy, keys),
  change: (data, { keys }) => sorted(data.read(keys)),
};

/** The data methods, applied to the store and to managers. */
export const readsAndWrites: fc.Arbitrary<Step>[] = [
  stepsOf('readData', fc.record({ keys: wantedKeys }), read),
  ...[1, 2, 3].map(() =>
    stepsOf('writeData', fc.record({ changes, condition, limits }), {
      act: (store, claims, policy, given, data) =>
        store.writeData(claims.tag, claims, policy, changeOf(given, data), given.limits),
      change: (data, given) => data.write(changeOf(given, data), given.limits),
    }),
  ),
  stepsOf('takeData', fc.record({ key }), {
    act: (store, claims, policy, given) => store.takeData(claims.tag, claims, policy, given.key),
    change: (data, given) => data.take(given.key),
  }),
  stepsOf('addToData', fc.record({ addition, limits }), {
    act: (store, claims, policy, given) => store.addToData(claims.tag, claims, policy, given.addition, given.limits),
    change: (data, given) => data.add(given.addition, given.limits),
  }),
  stepsOf('clearData', fc.constant({}), {
    act: (store, claims, policy) => store.clearData(claims.tag, claims, policy),
    change: (data) => data.clear(),
  }),
  fc.tuple(manager, tokenIndex).map(([index, which]) => touchStep(index, which)),
  fc.tuple(manager, tokenIndex).map(([index, which]) => endStep(index, which)),
  ofManager('data.getAll', fc.constant({}), {
    act: async (data) => Object.entries(await data.getAll()).sort(([a], [b]) => (a < b ? -1 : 1)),
    change: (data) => sorted(data.read(null)),
    absent: { gives: [] },
  }),
  ofManager('data.get', fc.record({ key }), {
    act: (data, given) => data.get(given.key),
    change: (data, given) => parsed(data.get(given.key)),
    absent: { gives: undefined },
  }),
  ofManager('data.set', fc.record({ entries }), {
    act: (data, given) => data.set(Object.fromEntries(sorted(given.entries))),
    change: (data, given) => void data.write({ entries: given.entries }, MANY),
    absent: NO_SESSION,
  }),
  ofManager('data.pop', fc.record({ key }), {
    act: (data, given) => data.pop(given.key),
    change: (data, given) => parsed(data.take(given.key)),
    absent: NO_SESSION,
  }),
  ofManager('data.clear', fc.constant({}), {
    act: (data) => data.clear(),
    change: (data) => void data.clear(),
    absent: NO_SESSION,
  }),
];

/** Compares all data of a token's session with the model. */
export function readAll(index: number, which: number): Step {
  return stepOf('readData', index, which, { keys: null }, read);
}

function stepsOf<Given extends object>(name: string, given: fc.Arbitrary<Given>, verb: Verb<Given>) {
  return fc.tuple(manager, tokenIndex, given).map(([index, which, args]) => stepOf(name, index, which, args, verb));
}

function stepOf<Given extends object>(
  name: string,
  index: number,
  which: number,
  given: Given,
  { act, change }: Verb<Given>,
): Step {
  return tokenStep(name, { manager: index, token: which, ...given }, async (model, world, issued) => {
    const rules = rulesOf(world, index);
    const before = model.dataOf(issued);
    const outcome = await world.call(model, index, (_, store) =>
      act(store, claimsOf(issued), policyOf(rules), given, before),
    );
    const seen = model.find(issued, rules);
    if (!('session' in seen)) return compareEnded(world, outcome, seen, issued);
    const { userId, data } = seen.session;
    compare(world, withSorted(outcome), { gives: { userId, data: change(data, given) }, events: [] });
  });
}

/** A use of the token that also reads the data. */
function touchStep(index: number, which: number): Step {
  return tokenStep('touchWithData', { manager: index, token: which }, async (model, world, issued) => {
    const rules = rulesOf(world, index);
    const outcome = await world.call(model, index, async (_, store) => {
      const { tag, ...claims } = claimsOf(issued);
      const found = await store.touchWithData(tag, { tag, ...claims }, policyOf(rules), 1000 * rules.slideEvery);
      if (found === null || found.session === null) return found;
      const { userId, data, userInfo, session } = found;
      return { userId, data, userInfo, seenAt: new Date(session.seenAt), gen: session.gen };
    });
    const seen = model.find(issued, rules);
    if (!('session' in seen)) return compareEnded(world, outcome, seen, issued);
    const { session } = seen;
    model.use(session, issued, rules);
    const { userId, data, newest, seenAt } = session;
    const gives = {
      userId,
      data: sorted(data.read(null)),
      userInfo: model.infoOf(userId).text(model.now),
      seenAt: new Date(seenAt),
      gen: newest.gen,
    };
    compare(world, withSorted(outcome), { gives, events: [] });
  });
}

/** An end that returns the data of the session. */
function endStep(index: number, which: number): Step {
  return tokenStep('endWithData', { manager: index, token: which }, async (model, world, issued) => {
    const { tag, sid } = claimsOf(issued);
    const data = sorted(model.dataOf(issued).read(null));
    const outcome = await world.call(model, index, (_, store) => store.endWithData(tag, sid, null));
    const { wasLive } = model.logout(issued);
    compare(world, withSorted(outcome), { gives: wasLive ? { userId: issued.userId, data } : null, events: [] });
  });
}

/** A method of a manager. On an ended session it emits the same events as any check. */
function ofManager<Given extends object>(
  name: string,
  given: fc.Arbitrary<Given>,
  verb: {
    act(data: SessionData<Values>, given: Given): Promise<unknown>;
    change(data: DataModel, given: Given): unknown;
    absent: Omit<Outcome, 'events'>;
  },
): fc.Arbitrary<Step> {
  return fc.tuple(manager, tokenIndex, given).map(([index, which, args]) =>
    tokenStep(name, { manager: index, token: which, ...args }, async (model, world, issued) => {
      const outcome = await world.call(model, index, (sessions) => verb.act(sessions.sessionData(issued.token), args));
      const seen = model.find(issued, rulesOf(world, index));
      if ('session' in seen) {
        return compare(world, outcome, { gives: verb.change(seen.session.data, args), events: [] });
      }
      const { events } = seen.find((absence) => absence.events.length === outcome.events.length) ?? seen[0];
      compare(world, outcome, { ...verb.absent, events });
    }),
  );
}

function changeOf({ changes, condition }: { changes: Changes; condition: Condition }, data: DataModel): DataChange {
  if (condition === undefined) return { entries: changes };
  const { key: name, json: text } = condition;
  return { entries: changes, condition: { key: name, json: text === 'as it is' ? data.get(name) : text } };
}

/** Values sorted by key for comparison: two stores may spell a number differently. */
export function sorted(all: Iterable<readonly [key: string, json: string]>): [key: string, value: unknown][] {
  const values = [...all].map(([name, text]): [string, unknown] => [name, parsed(text)]);
  return values.sort(([a], [b]) => (a < b ? -1 : 1));
}

function withSorted(outcome: Outcome): Outcome {
  const gives = outcome.gives as { data: unknown } | null | undefined;
  return gives?.data instanceof Map ? { ...outcome, gives: { ...gives, data: sorted(gives.data) } } : outcome;
}

function parsed(text: string | null): unknown {
  return text === null ? undefined : JSON.parse(text);
}

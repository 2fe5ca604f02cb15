import fc from 'fast-check';
import { MemoryStore, SessionError, TokenManager } from 'tokensession';
import { importSecret, signToken, tagOf } from '../../src/token/token';
import { anyValue, mutatedTokens } from '../support/arbitraries';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import { directMiddlewares } from '../support/hosts';
import type { AnySession, DirectRequest } from '../support/hosts/host';
import { holds } from '../support/properties';
import { PROPERTY_TIMEOUT } from '../support/runs';
import { everyStore, newSession, SECRET } from '../support/stores';

jest.setTimeout(PROPERTY_TIMEOUT);

const closing = closeAfterEach();

const NOW = 1_700_000_000_000;
const REUSE = { graceMs: 60_000, onReuse: 'end-session' } as const;

/** A session that exists before each request, and whose data names its owner. */
interface Known {
  userId: string;
  sid: string;
  tag: string;
  token: string;
}

const KNOWN: readonly Known[] = ['ada', 'ada', 'grace', '', ''].map((userId, index) => {
  const sid = `sid-${index}`.padEnd(22, '_');
  const tag = userId === '' ? sid : tagOf(userId);
  const times = { gen: 0, mintedAt: NOW + index, provedAt: NOW + index };
  return { userId, sid, tag, token: signToken({ tag, sid, ...times }, importSecret(SECRET)) };
});
const TOKENS = KNOWN.map(({ token }) => token);
const VISITORS = KNOWN.filter(({ userId }) => userId === '').map(({ token }) => token);

/** The known sessions in a new store, and its calls from then on. */
async function opened() {
  let now = NOW;
  const inner = new MemoryStore({ now: () => now });
  for (const [index, { userId, sid, tag }] of KNOWN.entries()) {
    now = NOW + index;
    await inner.create(tag, newSession(userId, { sid, data: new Map([['owner', JSON.stringify(sid)]]) }));
  }
  const { store, calls } = countedStore(inner);
  const manager = new TokenManager({ store, secret: SECRET, maxDataBytes: 200, maxDataKeys: 4 });
  return { manager, calls, inner };
}

/** A handler's use of its session. Reads are separate from acts that may start or end a session. */
const key = fc.constantFrom('owner', 'cart', '__proto__', 'n');
const value = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constant('x'.repeat(300)));
const READS: fc.Arbitrary<Act>[] = [
  key.map((name) => act(`get ${name}`, 1, ({ data }) => data.get(name))),
  fc.constant(act('getAll', 1, ({ data }) => data.getAll())),
];
const WRITES: fc.Arbitrary<Act>[] = [
  fc.tuple(key, value).map(([name, to]) => act(`set ${name}`, 1, ({ data }) => data.set(name, to))),
  key.map((name) => act(`increment ${name}`, 1, ({ data }) => data.increment(name))),
  key.map((name) => act(`pop ${name}`, 1, ({ data }) => data.pop(name))),
  fc
    .tuple(key, value)
    .map(([name, to]) => act(`update ${name}`, 2, ({ data }) => data.update(name, () => to as never))),
  fc.constant(act('clear', 1, ({ data }) => data.clear())),
];
/**
 * Logins and rotations. A login costs a call to read the kept data, one to start the session, and one to end each
 * session that came with the request; a rotation ends a visitor's.
 */
const TURNS: fc.Arbitrary<Act>[] = [
  fc
    .tuple(fc.constantFrom('ada', 'grace', 'new'), fc.subarray(['owner', 'cart', '__proto__']))
    .map(([user, keep]) => act(`login ${user} ${keep}`, 7, (session) => session.login(user, { keep }))),
  fc.boolean().map((everywhere) => act('logout', 5, (session) => session.logout({ everywhere }))),
  fc.constant(act('rotate', 3, (session) => session.rotate())),
];

interface Act {
  name: string;
  /** The number of calls to the store that it may cost. */
  most: number;
  run(session: AnySession): Promise<unknown>;
}

function act(name: string, most: number, run: Act['run']): Act {
  return { name, most, run, ...{ [fc.toStringMethod]: () => name } };
}

/** Requests with cookies of both kinds under both kinds of names, and perhaps a token in the header. */
function requests(value: fc.Arbitrary<string>): fc.Arbitrary<DirectRequest> {
  const name = fc.constantFrom('session-visitor', 'session-visitor', 'session', '__proto__', 'session-visitor-visitor');
  const cookies = fc.array(fc.tuple(name, value), { maxLength: 5 });
  return fc
    .record({
      method: fc.constantFrom('GET', 'POST'),
      url: fc.constant('/'),
      secure: fc.boolean(),
      cookies,
      authorization: fc.option(value, { nil: undefined, freq: 3 }),
      other: fc.constantFrom({}, { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'cross-site' }),
    })
    .map(({ cookies, authorization, other, ...request }) => {
      const prefix = request.secure ? '__Host-' : '';
      const cookie = cookies.map(([name, value]) => `${prefix}${name}=${value}`).join('; ');
      const bearer = authorization === undefined ? {} : { authorization: `Bearer ${authorization}` };
      return { ...request, headers: { host: 'app', ...other, ...(cookie !== '' && { cookie }), ...bearer } };
    });
}

const CODES = ['ERR_CROSS_ORIGIN', 'ERR_TOKEN_CONFLICT', 'ERR_NO_SESSION', 'ERR_DATA_TOO_LARGE'];
/** Up to three sessions of a user, and one of a visitor. */
const MOST_TO_OPEN = 4;

/** The result of a call; `undefined` for a permitted rejection. */
async function allowed(call: Promise<unknown>, name: string): Promise<unknown> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof SessionError && CODES.includes(error.code)) return undefined;
    // The value is not a number.
    if (error instanceof TypeError && name.startsWith('increment')) return undefined;
    throw error;
  }
}

/** Whether no signed token may count: from another site, or of several visitors in cookies alone. */
function mustBeAnonymous({ method, secure, headers }: DirectRequest): boolean {
  if (TOKENS.some((token) => headers.authorization === `Bearer ${token}`)) return false;
  if (method === 'POST' && headers['sec-fetch-site'] === 'cross-site') return true;
  const values = (headers.cookie ?? '').split('; ');
  const name = `${secure ? '__Host-' : ''}session`;
  const isThere = (token: string) => values.includes(`${name}-visitor=${token}`);
  const hasUser = TOKENS.some((token) => values.includes(`${name}=${token}`));
  return !hasUser && VISITORS.every(isThere);
}

const forged = mutatedTokens(TOKENS).filter((text) => !TOKENS.some((token) => text.includes(token)));

describe('unsigned or foreign tokens in any cookies', () => {
  it('find nothing, and cost no call to the store until something is written', async () => {
    const junk = fc.oneof(forged, fc.string({ unit: 'binary', maxLength: 30 }));
    const reads = fc.array(fc.oneof(...READS), { maxLength: 3 });
    await holds(300, [requests(junk), reads, fc.oneof(...WRITES)], async (request, acts, write) => {
      const { manager, calls } = await opened();
      for (const { send } of directMiddlewares(manager)) {
        const { session, setCookie } = await send(request);
        expect([session.user, session.id, session.token]).toEqual([null, null, null]);
        for (const { run } of acts) await run(session);
        expect(await session.data.getAll()).toEqual({});
        expect([await setCookie(), calls]).toEqual([[], []]);
        const { session: writing } = await send(request);
        await allowed(write.run(writing), write.name);
        expect(calls.splice(0)).toEqual(writing.id === null ? [] : ['create']);
        expect(TOKENS).not.toContain(writing.token);
      }
    });
  });

  it('give access to the data of their own sessions alone, in a bounded number of calls, without exceptions', async () => {
    const value = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...TOKENS, ...VISITORS) }, forged);
    const acts = fc.array(fc.oneof(...READS, ...WRITES, ...TURNS), { maxLength: 4 });
    const seen = { users: 0, visitors: 0, anonymous: 0 };
    await holds(500, [requests(value), acts], async (request, acts) => {
      const { manager, calls, inner } = await opened();
      const came = KNOWN.filter(({ token }) => Object.values(request.headers).join().includes(token));
      for (const { send } of directMiddlewares(manager)) {
        calls.length = 0;
        const session = (await allowed(
          send(request).then((sent) => sent.session),
          'open',
        )) as AnySession | undefined;
        expect(calls.length).toBeLessThanOrEqual(MOST_TO_OPEN);
        if (session === undefined) continue;
        if (mustBeAnonymous(request)) expect(session.token).toBeNull();
        const known = KNOWN.find(({ token }) => token === session.token);
        seen[session.user !== null ? 'users' : known ? 'visitors' : 'anonymous']++;
        expect([session.user?.id ?? '', session.id]).toEqual([known?.userId ?? '', known?.sid ?? null]);
        expect(came.includes(known as Known)).toBe(session.token !== null);
        const owner = await allowed(session.data.get('owner'), 'get');
        if (owner !== undefined && acts.length === 0) expect(owner).toBe(known?.sid);
        for (const { name, most, run } of acts) {
          calls.length = 0;
          await allowed(run(session), name);
          expect({ name, isBounded: calls.length <= most }).toEqual({ name, isBounded: true });
          // A login keeps a visitor's or the user's data; no other value is the id of a session.
          const kept = await allowed(session.data.get('owner'), 'get');
          const from = KNOWN.find(({ sid }) => sid === kept);
          if (session.user !== null && from !== undefined) expect(['', session.user.id]).toContain(from.userId);
        }
        const loggedIn = acts.flatMap(({ name }) => /^login (\w+)/.exec(name)?.[1] ?? []).map(tagOf);
        const ofItsUser = [...loggedIn, ...came.map(({ tag }) => tag)];
        const others = KNOWN.filter((one) => !came.includes(one));
        for (const { tag, sid } of others) {
          const claims = { tag, sid, gen: 0, mintedAt: NOW, provedAt: NOW };
          const found = await inner.readData(tag, claims, REUSE, null);
          // A logout everywhere ends the other sessions of its user.
          if (found === null || 'session' in found) expect(ofItsUser).toContain(tag);
          else expect(found.data).toEqual(new Map([['owner', JSON.stringify(sid)]]));
        }
      }
    });
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(20);
  });
});

describe('keys and values of every type', () => {
  const STORES = everyStore();
  const keys = fc.oneof(anyValue, fc.constantFrom('key', '__proto__', 'é'), fc.string({ unit: 'binary' }));

  it.each(STORES)('are returned as they were given, or rejected and not stored: %s', async (_, open) => {
    const { store, calls } = countedStore(open());
    const manager = new TokenManager({ store, secret: SECRET });
    closing(() => manager.close());
    const data = manager.sessionData(await manager.setToken('ada'));
    const before = { kept: [1, { a: null }] };
    await holds(400, [keys, anyValue], async (key, value) => {
      await data.clear();
      await data.set(before);
      calls.length = 0;
      const refusal = await data.set(key as string, value).catch((error: unknown) => error);
      if (refusal === undefined) {
        const { kept, ...rest } = await data.getAll();
        expect(kept).toEqual(before.kept);
        const names = typeof key === 'string' ? [key] : Object.keys(key as object);
        expect(Object.keys(rest).every((name) => names.includes(name))).toBe(true);
        if (typeof key === 'string' && !isShifting(value)) expectSame(ownOf(rest, key), value);
      } else {
        expect(['TypeError', 'RangeError']).toContain((refusal as Error).name);
        expect(calls).toEqual([]);
        expect(await data.getAll()).toEqual(before);
      }
    });
  });

  it.each(STORES)('are added and updated, or rejected and the old value is kept: %s', async (_, open) => {
    const manager = new TokenManager({ store: open(), secret: SECRET });
    closing(() => manager.close());
    const data = manager.sessionData(await manager.setToken('ada'));
    const by = fc.oneof(anyValue, fc.double(), fc.integer());
    await holds(300, [fc.jsonValue({ maxDepth: 1 }), by, anyValue], async (old, by, next) => {
      await data.set('key', old);
      const sum = await data.increment('key', by as number).catch((error: Error) => error);
      const added = await data.get('key');
      if (sum instanceof Error) {
        expect(['TypeError', 'RangeError']).toContain(sum.name);
        expect(asJson(added)).toBe(asJson(old));
      } else {
        expect([sum, added].map(asJson)).toEqual([asJson((old as number) + ((by ?? 1) as number)), asJson(sum)]);
      }
      const updated = await data.update('key', () => next).catch((error: Error) => error);
      const kept = await data.get('key');
      if (updated instanceof Error) expect(asJson(kept)).toBe(asJson(added));
      else if (!isShifting(next)) expectSame(kept, next);
    });
  });
});

/** Serialised: -0 is 0 in JSON. */
function asJson(value: unknown): string | undefined {
  return JSON.stringify(value);
}

/** Compares result and input, except for what JSON cannot distinguish: -0 and 0, undefined and left out. */
function expectSame(found: unknown, given: unknown): void {
  if (typeof given !== 'object' || given === null) {
    if (found !== given) expect(found).toEqual(given);
    return;
  }
  for (const name of new Set([...Object.keys(given), ...Object.keys(found as object)])) {
    expectSame(ownOf(found as object, name), ownOf(given, name));
  }
}

/** What an object itself has under a name, which may be `__proto__`. */
function ownOf(object: object, name: string): unknown {
  return Object.hasOwn(object, name) ? Reflect.get(object, name) : undefined;
}

/** Whether it returns another value each time, or is awaitable. */
function isShifting(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if ('then' in value) return true;
  return Object.values(Object.getOwnPropertyDescriptors(value)).some(({ get }) => get !== undefined);
}

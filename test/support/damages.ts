import { inspect } from 'node:util';
import fc from 'fast-check';
import type { Redis } from 'ioredis';

/** A change to a user's keys in Redis that this package would not make. */
export interface Damage {
  /** The layout in the record afterwards; absent if unchanged. */
  readonly layout?: string;
  /** Whether the record, or its key, is no longer the user's. */
  readonly isForeign: boolean;
  readonly isBan: boolean;
  /** Whether no hash remains for a further change. */
  readonly isLast?: boolean;
  apply(redis: Redis, keys: { sessions: string; info: string }, own: { sid: string; userId: string }): Promise<unknown>;
}

/** Applies damages; those that leave no hash for a further one come last. */
export async function applyAll(all: readonly Damage[], ...to: Parameters<Damage['apply']>): Promise<void> {
  const inOrder = all.toSorted((a, b) => Number(a.isLast ?? false) - Number(b.isLast ?? false));
  for (const damage of inOrder) await damage.apply(...to);
}

/** Ids of further sessions in a damaged record. */
export const SIDS: readonly string[] = ['a', 'b', '-'].map((character) => character.repeat(22));

const OWN = '<sid>';

const number = fc.oneof(
  fc.nat().map(String),
  fc.integer({ min: -3_600_000, max: 3_600_000 }).map((ms) => String(Date.now() + ms)),
  fc.constantFrom(
    '0',
    '00',
    '1',
    '-1',
    '1.5',
    '1e5',
    '0x10',
    'nan',
    'inf',
    '9007199254740993',
    '8640000000000001',
    '9'.repeat(18),
    '9'.repeat(400),
    '',
  ),
);
const text = fc.string({ unit: 'binary', maxLength: 20 });
const word = fc.oneof(fc.constantFrom('replaced', 'revoked', 'banned', 'reused', '__proto__', ''), text);

/** A nearly valid value of a session's field. */
const record = fc.oneof(
  { weight: 4, arbitrary: fc.array(number, { minLength: 3, maxLength: 9 }).map((times) => times.join(':')) },
  { weight: 2, arbitrary: fc.tuple(number, word, text).map((parts) => `ended:${parts.join(':')}`) },
  { weight: 1, arbitrary: text },
);
const ban = fc.oneof(
  fc.tuple(number, number, text).map((parts) => parts.join(':')),
  text,
);
const attributes = fc.oneof(
  fc.json(),
  fc.constantFrom(
    '{"__proto__":{"polluted":true}}',
    '{"constructor":{"prototype":{"polluted":1}}}',
    '{"device":{}}',
    '{"device":"web"',
  ),
  fc.constantFrom(
    'null',
    '[]',
    '"web"',
    '{"device":["web"]}',
    '{"device":null}',
    '{"device":"\\ud800"}',
    '['.repeat(2000),
  ),
  text,
);

function setting(field: string, value: string | Buffer, about: Partial<Damage> = {}): Damage {
  return {
    isForeign: false,
    isBan: false,
    ...about,
    apply: (redis, { sessions }, own) => {
      const named = (part: string) => part.replace(OWN, own.sid);
      return redis.hset(sessions, named(field), typeof value === 'string' ? named(value) : value);
    },
    ...shownAs(`HSET ${JSON.stringify(field)} ${typeof value === 'string' ? JSON.stringify(value) : inspect(value)}`),
  };
}

/** Another kind of damage, by a command on either key. */
function doing(shown: string, about: Partial<Damage>, apply: Damage['apply']): Damage {
  return { isForeign: false, isBan: false, ...about, apply, ...shownAs(shown) };
}

function shownAs(shown: string) {
  return { [fc.toStringMethod]: () => shown };
}

/** Invalid session data: other MessagePack than texts by texts, damaged MessagePack, other bytes. */
const data = fc
  .oneof(
    fc.constantFrom(
      'c0',
      '80',
      '01',
      '93010203',
      '81a16b01',
      '8101a131',
      '81c0a131',
      '81cb7ff8000000000000a131',
      '81a16ba16b',
      '81a16ba4',
      '82a16ba131a16ba132',
      'df7fffffffa16ba131',
      'dbffffffff',
      '81a16b81a16ba131',
      '91'.repeat(100_000),
      '81a16b'.repeat(100_000),
      '80'.repeat(1000),
    ),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('hex')),
  )
  .map((hex) => Buffer.from(hex, 'hex'));

const field = fc.constantFrom(OWN, ...SIDS);

/** Damages to the data of the session itself. */
export const dataDamages: fc.Arbitrary<Damage> = data.map((value) => setting(`${OWN}.d`, value));

export const damages: fc.Arbitrary<Damage> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(field, record).map(([name, value]) => setting(name, value)) },
  { weight: 2, arbitrary: fc.tuple(field, attributes).map(([name, value]) => setting(`${name}.a`, value)) },
  { weight: 3, arbitrary: dataDamages },
  { weight: 1, arbitrary: fc.tuple(field, data).map(([name, value]) => setting(`${name}.d`, value)) },
  { weight: 1, arbitrary: ban.map((value) => setting('ban', value, { isBan: true })) },
  {
    weight: 1,
    arbitrary: fc.oneof(fc.constantFrom('ada', ''), text).map((id) => setting('id', id, { isForeign: true })),
  },
  {
    weight: 1,
    arbitrary: fc.oneof(fc.constantFrom('2', '', '01', '1 '), text).map((layout) => setting('v', layout, { layout })),
  },
  { weight: 1, arbitrary: fc.tuple(text, text).map(([name, value]) => setting(`x${name}`, value)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('id', 'v', OWN)
      .map((name) =>
        doing(`HDEL ${name}`, {}, (redis, { sessions }, own) => redis.hdel(sessions, name.replace(OWN, own.sid))),
      ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('string', 'list').map((type) =>
      doing(`a ${type} in place of the hash`, { isForeign: true, isLast: true }, async (redis, { sessions }) => {
        await redis.del(sessions);
        await (type === 'string' ? redis.set(sessions, 'text') : redis.lpush(sessions, 'text'));
      }),
    ),
  },
  {
    weight: 2,
    arbitrary: fc
      .oneof(
        attributes,
        fc.tuple(number, attributes).map((parts) => parts.join(':')),
      )
      .map((value) =>
        doing(`SET <user info> ${JSON.stringify(value)}`, {}, (redis, { info }) => redis.set(info, value)),
      ),
  },
  {
    weight: 1,
    arbitrary: fc.constant(
      doing('HSET <user info>', {}, async (redis, { info }) => {
        await redis.del(info);
        await redis.hset(info, 'a', 'b');
      }),
    ),
  },
);

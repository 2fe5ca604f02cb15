import { createHmac } from 'node:crypto';
import fc from 'fast-check';

const names = ['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty', 'ttl', 'then', ''];

const exoticNumber = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.bigInt(),
  fc.constantFrom(Number.NaN, -0, 1e308, -1e-308, Number.MAX_SAFE_INTEGER + 2, 2 ** 31, Object(1), '60', 6n),
);

/** Objects with getters, proxies and other oddities. */
const hostileObject = fc
  .oneof(
    fc.constantFrom(
      () => JSON.parse('{"__proto__":{"polluted":true,"ttl":1},"constructor":{"prototype":{"polluted":true}}}'),
      () => Object.create({ ttl: 1, attributes: { device: 'inherited' } }),
      () => Object.create(Array.prototype),
      () => new Proxy({}, {}),
      () => new Proxy([], { get: (target, name) => (name === 'length' ? 3 : Reflect.get(target, name)) }),
      () => Object.assign(() => 'called', { ttl: 1 }),
      () =>
        new (class Options {
          ttl = 1;
        })(),
      () => Object.freeze({ [Symbol('hidden')]: 1, [Symbol.toPrimitive]: () => 60 }),
      () => ({ toString: () => 'ada', valueOf: () => 60, length: 3 }),
      () => Object.defineProperty({}, 'then', { value: (resolve: (value: unknown) => void) => resolve({ ttl: 60 }) }),
      () => Symbol('value'),
      () => Object('ada'),
    ),
    // A getter that returns something else each time.
    fc
      .tuple(fc.constantFrom(...names), fc.array(fc.anything(), { minLength: 1, maxLength: 3 }))
      .map(([name, values]) => () => {
        let reads = 0;
        const get = () => values[reads++ % values.length];
        return Object.defineProperty({}, name, { get, enumerable: true, configurable: true });
      }),
  )
  .map((make) => make());

/** Any value that a program could pass. */
export const anyValue: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.anything({
      key: fc.oneof(fc.constantFrom(...names), fc.string()),
      withBigInt: true,
      withNullPrototype: true,
      withDate: true,
      withMap: true,
      withSparseArray: true,
      withTypedArray: true,
      withBoxedValues: true,
    }),
  },
  { weight: 2, arbitrary: hostileObject },
  { weight: 2, arbitrary: exoticNumber },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  { weight: 1, arbitrary: fc.constantFrom('\ud800', 'a\udfff', 'x'.repeat(1025), '') },
);

/** An object with options of these names and any values, and perhaps with unknown names. */
export function anyOptions(known: readonly string[]): fc.Arbitrary<unknown> {
  const key = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...known) }, fc.constantFrom(...names), fc.string());
  const pairs = fc.array(fc.tuple(key, anyValue, fc.option(anyValue)), { maxLength: 3 });
  const object = fc.tuple(pairs, fc.boolean()).map(([entries, isBare]) => {
    const made: object = isBare ? Object.create(null) : {};
    for (const [name, value, other] of entries) {
      // With a second value it is a getter that returns both in turn.
      let reads = 0;
      const get = () => (reads++ % 2 === 0 ? value : other);
      Object.defineProperty(made, name, {
        enumerable: true,
        configurable: true,
        ...(other === null ? { value } : { get }),
      });
    }
    return made;
  });
  return fc.oneof({ weight: 5, arbitrary: object }, anyValue);
}

/** Header text with one byte a character, and some meaningful characters in it. */
export function headerText(pieces: readonly string[]): fc.Arbitrary<string> {
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array).toString('latin1'));
  const known = [
    'session=',
    '__Host-session=',
    '__Secure-session=',
    'session-visitor=',
    '__Host-session-visitor=',
    '; ',
    ';',
    '=',
    ',',
    '"',
    '%',
    '%zz',
    '\\',
    '\t',
    ' ',
    '$Version=1; ',
    ...pieces,
  ];
  const piece = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...known) }, bytes);
  return fc.array(piece, { maxLength: 8 }).map((parts) => parts.join(''));
}

/** Well-formed text of 1 to 1,024 bytes of UTF-8. */
export const userIds: fc.Arbitrary<string> = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1024, size: 'max' }),
    fc
      .array(
        fc.constantFrom(
          '\n',
          '\r',
          '\0',
          ':',
          ';',
          '{',
          '}',
          '.a',
          'id',
          'v',
          '\u2028',
          'e\u0301',
          'é',
          '🙂',
          '%',
          ' ',
          '__proto__',
        ),
        {
          minLength: 1,
          maxLength: 20,
        },
      )
      .map((parts) => parts.join('')),
  )
  .filter((text) => text !== '' && Buffer.byteLength(text) <= 1024);

const attribute = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc
    .array(fc.constantFrom('"', '\\', '\n', '\0', '/', 'a', '\u2028', '🙂', '\\u0000', '\\ud800'), { maxLength: 8 })
    .map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 200, size: 'max' }),
);

/** Well-formed text under every attribute name of a login. */
export const anyAttributes = fc.record(
  { device: attribute, ip: attribute, userAgent: attribute },
  { requiredKeys: [] },
);

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Invalid look-alikes of these tokens of several users: changed, cut, assembled, or signed with another secret. */
export function mutatedTokens(tokens: readonly string[]): fc.Arbitrary<string> {
  const token = fc.constantFrom(...tokens);
  const parts = tokens.map((text) => text.split('.'));
  const at = fc.nat({ max: 108 });
  const replaceAt = (text: string, index: number, by: string) => text.slice(0, index) + by + text.slice(index + 1);
  return fc
    .oneof(
      fc.tuple(token, at, fc.nat({ max: 7 })).map(([text, index, bit]) => {
        return replaceAt(text, index, String.fromCharCode(text.charCodeAt(index) ^ (1 << bit)));
      }),
      fc.tuple(token, at, fc.constantFrom(...ALPHABET)).map(([text, index, by]) => replaceAt(text, index, by)),
      // The last character of the signature has two bits that a decoder of base64 would ignore.
      fc.tuple(token, fc.constantFrom(...ALPHABET)).map(([text, by]) => replaceAt(text, text.length - 1, by)),
      fc.tuple(token, at, at).map(([text, from, to]) => text.slice(from, to)),
      fc.tuple(token, at, fc.string({ unit: 'binary', minLength: 1, maxLength: 5 })).map(([text, index, more]) => {
        return text.slice(0, index) + more + text.slice(index);
      }),
      fc
        .array(fc.nat({ max: parts.length - 1 }), { minLength: 6, maxLength: 6 })
        .map((from) => from.map((which, part) => parts[which]?.[part]).join('.')),
      fc
        .tuple(token, fc.shuffledSubarray([0, 1, 2, 3, 4, 5]))
        .map(([text, order]) => order.map((part) => text.split('.')[part]).join('.')),
      fc.tuple(token, fc.constantFrom('toUpperCase', 'toLowerCase')).map(([text, change]) => text[change]()),
      fc.tuple(token, at).map(([text, index]) => {
        const other = text[index] ?? '';
        return replaceAt(text, index, other === other.toUpperCase() ? other.toLowerCase() : other.toUpperCase());
      }),
      // Characters that look equal, or that some normalization makes equal.
      fc
        .tuple(token, at, fc.constantFrom('\u0430', '\u0435', '\uff21', '\u212a', '\u2024', '\uff0e', '\u02d7'))
        .map(([text, index, by]) => replaceAt(text, index, by)),
      fc.tuple(token, fc.constantFrom('=', '==', '\0', '\n', ' ', '.', '%3D')).map(([text, tail]) => text + tail),
      fc.tuple(token, fc.constantFrom(' ', '\t', '"', '\ufeff', '.')).map(([text, lead]) => lead + text),
      token.map((text) => text.replace(/-/g, '+').replace(/_/g, '/')),
      token.map((text) => `"${text}"`),
      token.map((text) => encodeURIComponent(text).replace(/\./g, '%2E')),
      fc.tuple(token, fc.string({ minLength: 32, maxLength: 64 })).map(([text, secret]) => {
        const signed = text.slice(0, text.lastIndexOf('.'));
        return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
      }),
      token.map((text) => text.slice(0, text.lastIndexOf('.') + 1)),
      // Another generation, or another time, under the old signature.
      fc.tuple(token, fc.integer({ min: 2, max: 4 }), fc.nat()).map(([text, part, by]) => {
        return text
          .split('.')
          .map((value, index) => (index === part ? by.toString(36) : value))
          .join('.');
      }),
      fc.string({ unit: fc.constantFrom(...ALPHABET), minLength: 87, maxLength: 87 }).map((text) => {
        return `${text.slice(0, 22)}.${text.slice(22, 44)}.0.mwvrrzg0.mwvrrzg0.${text.slice(44)}`;
      }),
    )
    .filter((text) => !tokens.includes(text));
}

import { createHash, createHmac, randomBytes } from 'node:crypto';
import { HmacSha256 } from '../../src/token/hmac';
import {
  createSessionId,
  importSecret,
  isSessionId,
  MAX_TOKEN_LENGTH,
  parseToken,
  readClaims,
  type SigningKeys,
  sessionIdIn,
  signToken,
  type TokenClaims,
  tagIn,
  tagOf,
} from '../../src/token/token';

const SECRET = 'the first secret of these tests, long enough';
const OLDER = 'the older secret of these tests, long enough';
const KEYS = importSecret(SECRET);

const NOW = 1_700_000_000_000;

/** The first token of a new session. */
function createToken(userId: string, keys: SigningKeys): TokenClaims & { token: string } {
  const claims = { tag: tagOf(userId), sid: createSessionId(), gen: 0, mintedAt: NOW, provedAt: NOW };
  return { ...claims, token: signToken(claims, keys) };
}

const signedPartOf = (token: string) => token.slice(0, token.lastIndexOf('.'));

describe('a token', () => {
  it('is tag.sid.gen.minted.proved.sig, and the signature covers all other parts', () => {
    const claims = { tag: tagOf('ada'), sid: createSessionId(), gen: 37, mintedAt: NOW + 1, provedAt: NOW };
    const token = signToken(claims, KEYS);
    expect(claims.tag).toBe(createHash('sha256').update('ada').digest('base64url').slice(0, 22));
    const signed = `${claims.tag}.${claims.sid}.11.${(NOW + 1).toString(36)}.${NOW.toString(36)}`;
    expect(token).toBe(`${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`);
    expect([tagIn(token), sessionIdIn(token)]).toEqual([claims.tag, claims.sid]);
  });

  it('is at most MAX_TOKEN_LENGTH long, with generations and times for centuries', () => {
    const claims = { ...createToken('ada', KEYS), gen: 36 ** 6 - 1, mintedAt: 36 ** 10 - 1, provedAt: 36 ** 10 - 1 };
    const token = signToken(claims, KEYS);
    expect(token).toHaveLength(MAX_TOKEN_LENGTH);
    expect(parseToken(token, KEYS)).toMatchObject({ gen: claims.gen, provedAt: claims.provedAt });
  });

  it('is a different one each time, for the same user too', () => {
    const tokens = Array.from({ length: 1000 }, () => createToken('ada', KEYS).token);
    expect(new Set(tokens).size).toBe(1000);
  });

  it('can be signed again from its claims', () => {
    const { token, ...claims } = createToken('ada', KEYS);
    expect(signToken(claims, KEYS)).toBe(token);
  });

  it('does not contain the user id in clear', () => {
    expect(createToken('ada.lovelace@example.com', KEYS).token).not.toMatch(/ada|example/);
  });

  it('is not made when the random source fails', () => {
    jest.isolateModules(() => {
      const crypto = require('node:crypto') as typeof import('node:crypto');
      const random = jest.spyOn(crypto, 'randomFillSync').mockImplementation(() => {
        throw new Error('no entropy');
      });
      try {
        const isolated = require('../../src/token/token') as typeof import('../../src/token/token');
        expect(() => isolated.createSessionId()).toThrow('no entropy');
        expect(random).toHaveBeenCalled();
      } finally {
        random.mockRestore();
      }
    });
  });
});

describe('the signature', () => {
  it('equals that of createHmac, for secrets of any length and script', () => {
    const random = randomBytes(1000).toString('hex');
    for (const secret of [
      random.slice(0, 32),
      random.slice(0, 63),
      random.slice(0, 64),
      random.slice(0, 65),
      random,
      'ключ, который знает только этот тест',
      Array.from({ length: 40 }, (_, i) => String.fromCodePoint(0x1f500 + ((i * i) % 41))).join(''),
    ]) {
      const { token } = createToken('ada', importSecret(secret));
      const mac = createHmac('sha256', secret).update(signedPartOf(token)).digest('base64url');
      expect(token).toBe(`${signedPartOf(token)}.${mac}`);
    }
  });

  it.each([
    ['0b'.repeat(20), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    [
      Buffer.from('Jefe').toString('hex'),
      'what do ya want for nothing?',
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
    [
      'aa'.repeat(131),
      'Test Using Larger Than Block-Size Key - Hash Key First',
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
  ])('is as in RFC 4231: %#', (key, text, mac) => {
    const hmac = new HmacSha256(Buffer.from(key, 'hex'), text.length);
    expect(Buffer.from(hmac.digest(text), 'base64url').toString('hex')).toBe(mac);
    expect(Buffer.from(hmac.digest(text), 'base64url').toString('hex')).toBe(mac);
    expect(() => hmac.digest(`${text} `)).toThrow(RangeError);
  });
});

describe('parseToken', () => {
  const { token, ...claims } = createToken('ada', KEYS);
  /** The token with one part replaced, signed again. */
  const resigned = (part: number, text: string) => {
    const parts = signedPartOf(token).split('.');
    parts[part] = text;
    const signed = parts.join('.');
    return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
  };

  it('returns the claims of a token that one of the secrets has signed', () => {
    expect(parseToken(token, KEYS)).toEqual(claims);
    const rotated = importSecret([OLDER, SECRET]);
    expect(parseToken(token, rotated)).toEqual(claims);
    expect(parseToken(createToken('ada', rotated).token, importSecret(OLDER))).not.toBeNull();
  });

  it('returns null for a token of another secret', () => {
    expect(parseToken(token, importSecret(OLDER))).toBeNull();
  });

  it('returns null for a token with any one character changed', () => {
    for (let i = 0; i < token.length; i++) {
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1);
      expect(parseToken(changed, KEYS)).toBeNull();
    }
  });

  it('accepts one spelling of a signature: the unused bits of base64url count', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(token.at(-1) as string);
    const sameBytes = token.slice(0, -1) + alphabet[last ^ 1];
    const bytesOf = (text: string) => Buffer.from(text.split('.').at(-1) as string, 'base64url');
    expect(bytesOf(sameBytes)).toEqual(bytesOf(token));
    expect(parseToken(sameBytes, KEYS)).toBeNull();
  });

  it.each([
    ['a leading zero', 2, '01'],
    ['an upper case digit', 2, 'A'],
    ['a sign', 2, '-1'],
    ['nothing', 3, ''],
    ['seven digits for the generation', 2, '1000000'],
    ['eleven digits for a moment', 3, '10000000000'],
    ['eleven digits for the proof', 4, '10000000000'],
  ])('accepts one spelling of each number: not %s, though signed', (_, part, text) => {
    expect(parseToken(resigned(part, text), KEYS)).toBeNull();
    expect(readClaims(resigned(part, text))).toBeNull();
    expect(parseToken(resigned(2, '1'), KEYS)).toEqual({ ...claims, gen: 1 });
  });

  it.each([
    ['nothing', ''],
    ['a token cut short', token.slice(0, -1)],
    ['a token with more behind it', `${token}A`],
    ['a token and a line break', `${token}\n`],
    ['the claims without the signature', `${signedPartOf(token)}.`],
    ['a token of the first format, without a generation', [claims.tag, claims.sid, token.slice(-43)].join('.')],
    ['the fault of old: a made-up name', 'admin_x'],
    ['dots', '.'.repeat(token.length)],
    ['characters outside of ASCII', '\u{1F511}'.repeat(45).slice(0, token.length)],
    ['a number', 7],
    ['an array of one token', [token]],
    ['an object that prints as a token', { toString: () => token, length: token.length }],
    ['undefined', undefined],
    ['null', null],
  ])('returns null for %s', (_, value) => {
    expect(parseToken(value, KEYS)).toBeNull();
  });
});

describe('a secret', () => {
  it.each([
    ['undefined', undefined, TypeError, 'option secret must be a string, got undefined'],
    ['a number', 1, TypeError, 'option secret must be a string, got a value of type number'],
    ['31 characters', 'x'.repeat(31), RangeError, 'option secret must have at least 32 characters, got 31'],
    ['no secrets at all', [], RangeError, 'option secret must hold at least one secret'],
    [
      'a list with a short one',
      [SECRET, 'short'],
      RangeError,
      'option secret[1] must have at least 32 characters, got 5',
    ],
    ['a list with a hole', [SECRET, undefined], TypeError, 'option secret[1] must be a string, got undefined'],
  ])('is refused when it is %s', (_, secret, kind, message) => {
    expect(() => importSecret(secret)).toThrow(kind);
    expect(() => importSecret(secret)).toThrow(message);
  });
});

describe('a tag', () => {
  it('differs for user ids that differ in anything', () => {
    const ids = ['a', 'A', 'a ', ' a', 'a\0', 'a\n', '__proto__', 'é', 'e\u0301', '{a}', 'a:b', 'a_b'];
    expect(new Set(ids.map(tagOf)).size).toBe(ids.length);
  });

  it('is never taken for a session id, which has the same form', () => {
    expect(isSessionId(createToken('ada', KEYS).sid)).toBe(true);
    expect(isSessionId('x')).toBe(false);
  });
});

import { createHash, createHmac, randomBytes } from 'node:crypto';
import { HmacSha256 } from '../src/token/hmac';
import { createToken, importSecret, isSessionId, parseToken, signToken, tagOf } from '../src/token/token';

const SECRET = 'the first secret of these tests, long enough';
const OLDER = 'the older secret of these tests, long enough';
const KEYS = importSecret(SECRET);

describe('a token', () => {
  it('is tag.sid.sig: the hash of the user id, a random id, and a signature over both', () => {
    const { token, tag, sid } = createToken('ada', KEYS);
    expect(token).toMatch(/^[\w-]{22}\.[\w-]{22}\.[\w-]{43}$/);
    expect(tag).toBe(createHash('sha256').update('ada').digest('base64url').slice(0, 22));
    const signature = createHmac('sha256', SECRET).update(`${tag}.${sid}`).digest('base64url');
    expect(token).toBe(`${tag}.${sid}.${signature}`);
  });

  it('is another one each time, for the same user too', () => {
    const tokens = Array.from({ length: 1000 }, () => createToken('ada', KEYS).token);
    expect(new Set(tokens).size).toBe(1000);
  });

  it('can be signed again from its parts', () => {
    const { token, ...parts } = createToken('ada', KEYS);
    expect(signToken(parts, KEYS)).toBe(token);
  });

  it('holds nothing of the user id in clear', () => {
    expect(createToken('ada.lovelace@example.com', KEYS).token).not.toMatch(/ada|example/);
  });

  it('is not made at all when the random source fails', () => {
    jest.isolateModules(() => {
      const crypto = require('node:crypto') as typeof import('node:crypto');
      const random = jest.spyOn(crypto, 'randomFillSync').mockImplementation(() => {
        throw new Error('no entropy');
      });
      try {
        const isolated = require('../src/token/token') as typeof import('../src/token/token');
        expect(() => isolated.createToken('ada', KEYS)).toThrow('no entropy');
        expect(random).toHaveBeenCalled();
      } finally {
        random.mockRestore();
      }
    });
  });
});

describe('the signature', () => {
  it('is that of createHmac, for secrets of any length and script', () => {
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
      const { token, tag, sid } = createToken('ada', importSecret(secret));
      expect(token.slice(46)).toBe(createHmac('sha256', secret).update(`${tag}.${sid}`).digest('base64url'));
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
  ])('is as RFC 4231 has it: %#', (key, text, mac) => {
    const hmac = new HmacSha256(Buffer.from(key, 'hex'), text.length);
    expect(Buffer.from(hmac.digest(text), 'base64url').toString('hex')).toBe(mac);
    expect(Buffer.from(hmac.digest(text), 'base64url').toString('hex')).toBe(mac);
    expect(() => hmac.digest(`${text} `)).toThrow(RangeError);
  });
});

describe('parseToken', () => {
  const { token, tag, sid } = createToken('ada', KEYS);

  it('gives the parts of a token that one of the secrets has signed', () => {
    expect(parseToken(token, KEYS)).toEqual({ tag, sid });
    const rotated = importSecret([OLDER, SECRET]);
    expect(parseToken(token, rotated)).toEqual({ tag, sid });
    expect(parseToken(createToken('ada', rotated).token, importSecret(OLDER))).not.toBeNull();
  });

  it('gives null for a token of another secret', () => {
    expect(parseToken(token, importSecret(OLDER))).toBeNull();
  });

  it('gives null for a token with any one character changed', () => {
    for (let i = 0; i < token.length; i++) {
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1);
      expect(parseToken(changed, KEYS)).toBeNull();
    }
  });

  it('takes no second spelling of a signature: the unused bits of base64url count', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(token.at(-1) as string);
    const sameBytes = token.slice(0, -1) + alphabet[last ^ 1];
    const bytesOf = (text: string) => Buffer.from(text.split('.')[2] as string, 'base64url');
    expect(bytesOf(sameBytes)).toEqual(bytesOf(token));
    expect(parseToken(sameBytes, KEYS)).toBeNull();
  });

  it.each([
    ['nothing', ''],
    ['a token cut short', token.slice(0, -1)],
    ['a token with more behind it', `${token}A`],
    ['a token and a line break', `${token}\n`],
    ['the parts without the signature', `${tag}.${sid}.`],
    ['the fault of old: a made-up name', 'admin_x'],
    ['dots', '.'.repeat(token.length)],
    ['characters outside of ASCII', '\u{1F511}'.repeat(45).slice(0, token.length)],
    ['a number', 7],
    ['an array of one token', [token]],
    ['an object that prints as a token', { toString: () => token, length: token.length }],
    ['undefined', undefined],
    ['null', null],
  ])('gives null for %s', (_, value) => {
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

  it('is no session id by mistake: both have the form, only one is asked for', () => {
    expect(isSessionId(createToken('ada', KEYS).sid)).toBe(true);
    expect(isSessionId('x')).toBe(false);
  });
});

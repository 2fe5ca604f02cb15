import { randomBytes } from 'node:crypto';
import express from 'express';
import { MemoryStore, TokenManager } from 'tokensession';
import { sessionMiddleware } from 'tokensession/express';
import { importSecret } from '../../src/token/token';
import { listen } from '../support/apps';
import { SECRET } from '../support/stores';

const refusal = (secret: unknown): Error => {
  try {
    importSecret(secret);
  } catch (error) {
    return error as Error;
  }
  throw new Error('was accepted');
};

describe('a well-known secret', () => {
  it.each([
    'a-string-secret-at-least-256-bits-long',
    'your-256-bit-secret-your-256-bit-secret',
    'keyboard cat keyboard cat keyboard cat',
    'keyboard cat, keyboard dog, keyboard!',
    'changeme-changeme-changeme-changeme!',
    'CHANGE_ME_CHANGE_ME_BEFORE_PRODUCTION',
    'placeholder-placeholder-placeholder-1',
    'your-secret-here-at-least-32-chars',
    'my-super-secret-key-for-production',
  ])('is refused as a placeholder: %s', (secret) => {
    expect(refusal(secret)).toEqual(
      new RangeError('option secret is a well-known placeholder; make one with `openssl rand -base64 32`'),
    );
    expect(refusal([SECRET, secret]).message).toMatch(/^option secret\[1\] is a well-known placeholder/);
  });
});

describe('an easily guessed secret', () => {
  it.each([
    ['one character', 'a'.repeat(40), 'repeats a short text'],
    ['digits over and over, cut short', '0123456789'.repeat(4).slice(0, 33), 'repeats a short text'],
    ['a word over and over', 'secret'.repeat(6), 'repeats a short text'],
    ['31 characters twice', randomBytes(31).toString('base64').slice(0, 31).repeat(2), 'repeats a short text'],
    ['the alphabet', 'abcdefghijklmnopqrstuvwxyz123456', 'is a sequence of neighbouring characters'],
    ['the alphabet backwards', 'zyxwvutsrqponmlkjihgfedcba987654321', 'is a sequence of neighbouring characters'],
    [
      'a variable of a shell',
      ['$', '{SESSION_SECRET:?SESSION_SECRET is not set}'].join(''),
      'is a template whose variables were not expanded',
    ],
    [
      'a sequence for a little more than its half',
      'abcdefghijklmnopqrZ4kX9mQ2vT7wB1y',
      'is a sequence of neighbouring characters',
    ],
    ['a command of a shell', '$(openssl rand -base64 32) $(date)', 'is a template whose variables were not expanded'],
    ['a variable of a chart', '{{ .Values.sessions.signing.key }}', 'is a template whose variables were not expanded'],
    ['a short template', '<%= secret %>', 'is a template whose variables were not expanded'],
    ['few characters', 'abacadaeafagabbaccaddaeeaffaggaa', 'must have at least 8 different characters, got 7'],
  ])('is refused: %s', (_, secret, message) => {
    const error = refusal(secret);
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(new RegExp(`^option secret ${message}`));
    expect(error.message).toContain('make one with `openssl rand -base64 32`');
    expect(error.message).not.toContain(secret);
  });

  it('is refused when a list has it twice: a new one was never made', () => {
    expect(refusal([SECRET, 'another secret that these tests sign with', SECRET])).toEqual(
      new RangeError('option secret[2] is the same as secret[0]; make one with `openssl rand -base64 32`'),
    );
  });

  it('is never shown in the message, not even in part', () => {
    for (const secret of ['x1y2z3w4x1y2z3w4x1y2z3w4x1y2z3w4', 'keyboard cat of 1970 with a hat', 'zq']) {
      for (const part of secret.split(' ').filter(({ length }) => length > 4)) {
        expect(refusal(secret).message).not.toContain(part);
      }
    }
  });
});

describe('a secret that is not valid UTF-8', () => {
  // Each lone surrogate becomes U+FFFD, so different secrets would give equal signatures.
  const random = randomBytes(32).toString('base64');

  it.each([
    ['a high surrogate alone', `${random}\ud83d`],
    ['a low surrogate alone', `\ude00${random}`],
    ['a pair the wrong way round', `${random}\ude00\ud83d${random}`],
    ['surrogates only', '\ud800\ud801\ud802\ud803\ud804\ud805\ud806\ud807'.repeat(5)],
  ])('is refused, and not shown: %s', (_, secret) => {
    const why = 'must be well-formed Unicode: it holds a lone surrogate';
    expect(refusal(secret)).toEqual(new RangeError(`option secret ${why}`));
    expect(refusal([SECRET, secret])).toEqual(new RangeError(`option secret[1] ${why}`));
  });
});

describe('a random secret', () => {
  it.each(['base64', 'base64url', 'hex'] as const)('is accepted, of 24 bytes or 32, as %s', (encoding) => {
    for (let i = 0; i < 5000; i++) {
      expect(() => importSecret(randomBytes(24 + (i % 2) * 8).toString(encoding))).not.toThrow();
    }
  });

  it('is accepted with a placeholder before it', () => {
    for (const words of ['changeme', 'my-super-secret-', 'placeholder:', 'session-secret-key=']) {
      expect(() => importSecret(words + randomBytes(32).toString('base64'))).not.toThrow();
    }
  });
});

describe('a secret of words that are not a placeholder', () => {
  it.each([
    ['a sentence', 'seventeen herons rowed past the lighthouse'],
    ['this suite’s own', SECRET],
    ['a long text twice', randomBytes(24).toString('base64').repeat(2)],
    ['letters beyond ASCII', 'семнадцать цапель проплыли мимо маяка'],
    ['a placeholder and letters beyond ASCII', 'changeme: семнадцать цапель проплыли мимо маяка'],
    ['a sequence for less than its half', 'abcdefghijklmnoZ4kX9mQ2vT7wB1yHs8'],
    ['whole surrogate pairs', '😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰😗'],
  ])('is accepted: %s', (_, secret) => {
    expect(() => importSecret(secret)).not.toThrow();
  });
});

describe('a new secret put in front of the old one', () => {
  const NEXT = 'the secret that comes next, long enough too';

  it('signs no user out: old cookies stay valid, new logins use the new secret', async () => {
    const store = new MemoryStore();
    const serve = async (secret: string | string[]) => {
      const app = express();
      app.use(sessionMiddleware(new TokenManager({ store, secret })));
      app.post('/login', async (req, res) => void res.json(await req.session.login('ada')));
      app.get('/me', (req, res) => void res.json(req.session.user));
      return listen(app);
    };
    const [before, during, after] = [await serve(SECRET), await serve([NEXT, SECRET]), await serve(NEXT)];
    const login = async ({ url }: { url: string }) => {
      const response = await fetch(`${url}/login`, { method: 'POST' });
      return response.headers.getSetCookie()[0]?.split(';')[0] as string;
    };
    const me = async ({ url }: { url: string }, cookie: string) => {
      const response = await fetch(`${url}/me`, { headers: { cookie } });
      return { user: await response.json(), setCookie: response.headers.getSetCookie() };
    };
    try {
      const old = await login(before);
      expect(await me(during, old)).toEqual({ user: { id: 'ada' }, setCookie: [] });
      const young = await login(during);
      expect(await me(during, young)).toEqual({ user: { id: 'ada' }, setCookie: [] });
      expect((await me(before, young)).user).toBeNull();
      expect((await me(after, young)).user).toEqual({ id: 'ada' });
      expect((await me(after, old)).user).toBeNull();
    } finally {
      for (const { close } of [before, during, after]) await close();
      await store.close();
    }
  });
});

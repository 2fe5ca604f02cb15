import { randomBytes } from 'node:crypto';
import express from 'express';
import { MemoryStore, TokenManager } from 'tokensession';
import { sessionMiddleware } from 'tokensession/express';
import { importSecret } from '../src/token/token';
import { listen } from './support/apps';
import { SECRET } from './support/stores';

const refusal = (secret: unknown): Error => {
  try {
    importSecret(secret);
  } catch (error) {
    return error as Error;
  }
  throw new Error('was taken');
};

describe('a secret that others know', () => {
  it.each([
    'a-string-secret-at-least-256-bits-long',
    'a-string-secret-at-least-512-bits-long-which-is-longer',
    'your-256-bit-secret-your-256-bit-secret',
    'complex_password_at_least_32_characters_long',
    'Complex Password At Least 32 Characters Long',
    'keyboard cat keyboard cat keyboard cat',
    'keyboard cat, keyboard dog, keyboard!',
    'changeme-changeme-changeme-changeme!',
    'CHANGE_ME_CHANGE_ME_BEFORE_PRODUCTION',
    'please-change-this-to-a-random-secret',
    'replace me with a long random string',
    'replace-with-a-random-32-character-secret',
    'placeholder-placeholder-placeholder-1',
    'your-secret-here-at-least-32-characters',
    'your_super_secret_key_change_in_production',
    'my-super-secret-jwt-key-for-development',
    'YOUR_SESSION_SECRET_GOES_HERE_0123456789',
    'this is a very secret string, at least 32',
    'insert-your-own-session-secret-right-here',
    'jwt-secret-key-that-nobody-will-ever-guess',
    'passwordpasswordpasswordpassword123',
    'a secret for tests, 32 or more characters',
    'process.env.SESSION_SECRET_FOR_TOKENS',
    'development-only-secret-not-for-production-use',
    'some-random-string-that-is-32-chars-min',
    'qwertyuiopasdfghjklzxcvbnm1234567890',
    'the quick brown fox jumps over the lazy dog',
  ])('is refused as a placeholder: %s', (secret) => {
    const error = refusal(secret);
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe(
      'option secret is a placeholder out of an example, which everybody knows; make one with `openssl rand -base64 32`',
    );
    expect(refusal([SECRET, secret]).message).toMatch(/^option secret\[1\] is a placeholder/);
  });
});

describe('a secret that is easily guessed', () => {
  it.each([
    ['one character', 'a'.repeat(40), 'is a short text over and over'],
    ['digits over and over, cut short', '0123456789'.repeat(4).slice(0, 33), 'is a short text over and over'],
    ['a word over and over', 'secret'.repeat(6), 'is a short text over and over'],
    ['31 characters twice', randomBytes(31).toString('base64').slice(0, 31).repeat(2), 'is a short text over and over'],
    ['the alphabet', 'abcdefghijklmnopqrstuvwxyz123456', 'is a row of characters in their order'],
    ['the alphabet backwards', 'zyxwvutsrqponmlkjihgfedcba987654321', 'is a row of characters in their order'],
    [
      'a variable that nothing has replaced',
      ['$', '{SESSION_SECRET:?SESSION_SECRET is not set}'].join(''),
      'is a text in whose place',
    ],
    ['a command that nobody ran', '$(openssl rand -base64 32) $(date)', 'is a text in whose place'],
    ['few characters', 'abacadaeafagabbaccaddaeeaffaggaa', 'must have at least 8 different characters, got 7'],
  ])('is refused: %s', (_, secret, message) => {
    const error = refusal(secret);
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe(error.message.replace(secret, ''));
    expect(error.message).toMatch(/^option secret (is|must)/);
    expect(error.message).toContain(message);
    expect(error.message).toContain('make one with `openssl rand -base64 32`');
  });

  it('is refused when it is there twice: the new one was never made', () => {
    expect(refusal([SECRET, 'another secret that these tests sign with', SECRET])).toEqual(
      new RangeError('option secret[2] is the same as secret[0]; make one with `openssl rand -base64 32`'),
    );
  });

  it('never shows in the message, nor does a part of it', () => {
    for (const secret of ['x1y2z3w4x1y2z3w4x1y2z3w4x1y2z3w4', 'keyboard cat of 1970 with a hat', 'zq']) {
      for (const part of secret.split(' ').filter(({ length }) => length > 4)) {
        expect(refusal(secret).message).not.toContain(part);
      }
    }
  });
});

describe('a secret made at random', () => {
  it.each(['base64', 'base64url', 'hex'] as const)('is taken, of 24 bytes or 32, as %s', (encoding) => {
    for (let i = 0; i < 5000; i++) {
      expect(() => importSecret(randomBytes(24 + (i % 2) * 8).toString(encoding))).not.toThrow();
    }
  });

  it('is taken with words before it: what is behind them nobody knows', () => {
    for (const words of ['changeme', 'my-super-secret-', 'placeholder:', 'session-secret-key=']) {
      expect(() => importSecret(words + randomBytes(32).toString('base64'))).not.toThrow();
    }
  });

  it('is taken twice as long as need be, and of words that are in no documentation', () => {
    expect(() => importSecret(randomBytes(24).toString('base64').repeat(2))).not.toThrow();
    expect(() => importSecret('seventeen herons rowed past the lighthouse')).not.toThrow();
    expect(() => importSecret(SECRET)).not.toThrow();
  });
});

describe('a new secret put in front of the old one', () => {
  const NEXT = 'the secret that comes next, long enough too';

  it('signs nobody out: old cookies go on, new logins are signed with the new', async () => {
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

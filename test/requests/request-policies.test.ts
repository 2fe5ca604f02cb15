import { MemoryStore, SessionError, type TokenManagerOptions } from 'tokensession';
import { requireRecentLogin } from 'tokensession/fetch';
import { APPS, type AppOptions, type Detail, RECENT, type Routes, serve } from '../support/apps';
import { ask } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { gate } from '../support/gate';
import { ALL_HOSTS } from '../support/hosts';
import { anySession } from '../support/hosts/host';
import { idOf } from '../support/session-id';
import { wrapStore } from '../support/wrapped-store';

const ROUTES: Routes = {
  '/why': ({ user, endReason, endMessage }) => ({ user, endReason, endMessage }),
  '/rotate': async (session) => ({ token: await session.rotate(), id: session.id, user: session.user }),
  '/reauthenticate': async (session) => ({
    token: await session.reauthenticated(),
    authenticatedAt: session.authenticatedAt,
    user: session.user,
  }),
};

describe.each(APPS)('%s', (_, build, { begin }) => {
  const onClose = closeAfterEach();

  /** An application on a store whose clock the test moves. */
  async function start(options: Partial<TokenManagerOptions<Detail>> = {}, appOptions: AppOptions = {}) {
    let now = Date.now();
    const store = new MemoryStore({ now: () => now });
    const { manager, url } = await serve(onClose, build, { routes: ROUTES, ...appOptions }, { store, ...options });
    const send = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
      ask(url + path, { headers, method });
    const login = async (user: string): Promise<string> => (await send(`/login?user=${user}`, {}, 'POST')).body.token;
    return { manager, send, login, url, pass: (seconds: number) => (now += seconds * 1000) };
  }

  const inCookie = (token: unknown) => ({ cookie: `session=${token}` });
  const inHeader = (token: unknown) => ({ authorization: `Bearer ${token}` });

  describe('a session that has ended', () => {
    it('gives the reason in the 401 of requireUser() and in the request’s session', async () => {
      const { manager, send, login } = await start({ maxSessions: 1 });
      const [replaced, kicked] = [await login('ada'), await login('ada')];
      await manager.deleteUserToken('ada', { message: 'Your password was changed' });
      const banned = await login('eve');
      await manager.banUser('eve', { reason: 'spam' });
      const expected: [string, string, string | null][] = [
        [replaced, 'replaced', null],
        [kicked, 'revoked', 'Your password was changed'],
        [banned, 'banned', 'spam'],
      ];
      for (const [token, reason, message] of expected) {
        for (const headers of [inCookie(token), inHeader(token)]) {
          const refused = await send('/me', headers);
          expect(refused).toMatchObject({ status: 401 });
          expect(refused.body).toEqual({ error: 'unauthenticated', reason, ...(message !== null && { message }) });
          expect(refused.headers.get('www-authenticate')).toBe('Bearer');
          expect((await send('/why', headers)).body).toEqual({ user: null, endReason: reason, endMessage: message });
        }
      }
    });

    it('has its own reason when its holder ended it or it expired', async () => {
      const { manager, send, login, pass } = await start({ ttl: 60 });
      const [ended, expired] = [await login('ada'), await login('ada')];
      await manager.deleteToken(ended);
      pass(60);
      expect((await send('/me', inCookie(ended))).body).toEqual({ error: 'unauthenticated', reason: 'unknown' });
      expect((await send('/me', inCookie(expired))).body).toEqual({ error: 'unauthenticated', reason: 'expired' });
    });

    it('gives no reason to an anonymous, forged or newly signed-in request', async () => {
      const { manager, send, login } = await start(
        {},
        {
          routes: {
            ...ROUTES,
            '/again': async (session) => {
              await session.login('ada');
              return { endReason: session.endReason, endMessage: session.endMessage };
            },
          },
        },
      );
      const token = await login('ada');
      await manager.deleteUserToken('ada');
      const forged = `${token.slice(0, -2)}${token.endsWith('AA') ? 'BB' : 'AA'}`;
      for (const headers of [{}, inCookie(forged), inHeader('x')]) {
        expect((await send('/me', headers)).body).toEqual({ error: 'unauthenticated' });
        expect((await send('/why', headers)).body).toEqual({ user: null, endReason: null, endMessage: null });
      }
      expect((await send('/again', inCookie(token))).body).toEqual({ endReason: null, endMessage: null });
    });
  });

  describe('login', () => {
    it("of a banned user is a 403, over a limit with onLimit: 'reject' a 409, and sets no cookie", async () => {
      const { manager, send, login } = await start({ maxSessions: 1, onLimit: 'reject' });
      await manager.banUser('eve');
      expect(await send('/login?user=eve', {}, 'POST')).toMatchObject({ status: 403, setCookie: [] });
      const token = await login('ada');
      expect(await send('/login?user=ada', {}, 'POST')).toMatchObject({ status: 409, setCookie: [] });
      expect(await send('/login?user=ada', inCookie(token), 'POST')).toMatchObject({ status: 200 });
    });

    it('accepts its own absoluteTtl', async () => {
      const { manager, send } = await start(
        {},
        {
          routes: { '/brief': async (session) => ({ token: await session.login('ada', { absoluteTtl: 60 }) }) },
        },
      );
      const { body } = await send('/brief');
      expect(await manager.checkToken(body.token as string)).toMatchObject({ ttl: 60 });
    });
  });

  describe('rotate', () => {
    it('sets the new token in the cookie; use of the old one later than the grace ends the session', async () => {
      const { send, login, pass } = await start({ rotationGrace: 10 });
      const old = await login('ada');
      const rotated = await send('/rotate', inCookie(old));
      const { token } = rotated.body;
      expect(rotated.body).toEqual({ token: expect.any(String), id: idOf(token as string), user: { id: 'ada' } });
      expect(rotated.setCookie).toEqual([expect.stringMatching(`^session=${token}; Max-Age=`)]);
      expect(rotated.headers.get('cache-control')).toBe('no-store');
      expect(await send('/me', inCookie(old))).toMatchObject({ status: 200, setCookie: [] });
      pass(1000);
      expect(await send('/me', inCookie(old))).toMatchObject({ status: 200, setCookie: [] });
      expect(await send('/me', inCookie(token))).toMatchObject({ status: 200 });
      pass(9);
      expect(await send('/me', inCookie(old))).toMatchObject({ status: 200 });
      pass(1);
      expect((await send('/me', inCookie(old))).body).toEqual({ error: 'unauthenticated', reason: 'reused' });
      expect((await send('/me', inCookie(token))).body).toEqual({ error: 'unauthenticated', reason: 'reused' });
    });

    it('returns the new token to a client that sends its token in a header, and sets no cookie', async () => {
      const { send, login } = await start();
      const old = await login('ada');
      const { body, setCookie } = await send('/rotate', inHeader(old));
      expect(setCookie).toEqual([]);
      expect(await send('/me', inHeader(body.token))).toMatchObject({ status: 200 });
      const both = await send('/rotate', { ...inHeader(body.token), ...inCookie(body.token) });
      expect(both.setCookie).toEqual([expect.stringContaining(both.body.token as string)]);
    });

    it('returns null for an anonymous request', async () => {
      const { send } = await start();
      expect(await send('/rotate')).toMatchObject({ setCookie: [], body: { token: null, id: null } });
      expect(await send('/reauthenticate')).toMatchObject({ setCookie: [], body: { token: null } });
    });

    it('after the response has begun rejects before anything is rotated', async () => {
      let outcome: unknown;
      const routes: Routes = {
        '/late': async (session, _query, res) => {
          begin(session, res);
          outcome = await session.rotate().catch((error) => error);
          res.end();
        },
      };
      const { manager, send, login } = await start({}, { routes });
      const token = await login('ada');
      await send('/late', inCookie(token));
      expect(outcome).toMatchObject({ code: 'ERR_HEADERS_SENT', message: expect.stringMatching(/^rotate\(\)/) });
      expect(await manager.listUserToken('ada')).toEqual([token]);
    });

    it('whose response begins during the store call rejects, and the old token stays valid', async () => {
      let outcome: unknown;
      const { wait, arrival, open } = gate();
      const store = wrapStore(new MemoryStore(), (method, call) => (method === 'check' ? wait().then(call) : call()));
      const routes: Routes = {
        '/race': async (session, _query, res) => {
          const rotating = session.rotate().catch((error) => error);
          await arrival;
          begin(session, res);
          open();
          outcome = await rotating;
          res.end();
        },
      };
      const { manager, send, login } = await start({ rotationGrace: 0, store }, { routes });
      const token = await login('ada');
      await send('/race', inCookie(token));
      expect(outcome).toMatchObject({ code: 'ERR_HEADERS_SENT' });
      expect(await manager.listUserToken('ada')).toEqual([token]);
      expect(await manager.checkToken(token)).not.toBeNull();
    });

    it('sets its cookie even when the handler then fails, and so does a login', async () => {
      const fail = () => {
        throw Object.assign(new Error('boom'), { status: 418 });
      };
      const { manager, send, login } = await start(
        {},
        {
          routes: {
            '/rotate-and-fail': (session) => session.rotate().then(fail),
            '/login-and-fail': (session) => session.login('grace').then(fail),
          },
        },
      );
      const old = await login('ada');
      const failed = await send('/rotate-and-fail', inCookie(old));
      const [token] = /[\w.-]{80,}/.exec(failed.setCookie[0] ?? '') ?? [''];
      expect(failed).toMatchObject({ status: 418, setCookie: [expect.stringContaining(`session=${token};`)] });
      expect(token).not.toBe(old);
      expect((await manager.touchToken(token))?.id).toBe(idOf(old));
      expect(failed.headers.get('cache-control')).toBe('no-store');
      const { setCookie } = await send('/login-and-fail');
      expect(setCookie).toEqual([expect.stringContaining((await manager.listUserToken('grace'))[0] as string)]);
    });

    it('sets no cookie on other responses when handlers throw the same error object, and leaves no token in it', async () => {
      const shared = Object.assign(new Error('quota'), { status: 429 });
      const fail = () => {
        throw shared;
      };
      const { send } = await start(
        {},
        { routes: { '/in': (session) => session.login('ada').then(fail), '/out': fail } },
      );
      expect((await send('/in')).setCookie).toHaveLength(1);
      expect(await send('/out')).toMatchObject({ status: 429, setCookie: [] });
      expect(Object.keys(shared)).toEqual(['status']);
    });

    it('works on an error response, as a logout does; a dead token keeps its cookie: a newer login may have set it', async () => {
      const fail = () => {
        throw Object.assign(new Error('boom'), { status: 418 });
      };
      const { manager, send, login } = await start(
        {},
        {
          routes: { '/out': (session) => session.logout().then(fail), '/fail': fail },
        },
      );
      const cleared = { status: 418, setCookie: [expect.stringMatching(/^session=; Max-Age=0;/)] };
      expect(await send('/out', inCookie(await login('ada')))).toMatchObject(cleared);
      const dead = await login('ada');
      await manager.deleteToken(dead);
      expect(await send('/fail', inCookie(dead))).toMatchObject({ status: 418, setCookie: [] });
    });

    it('ignores an old token in a second, stale cookie', async () => {
      const { manager, send, login, pass } = await start();
      for (let i = 0; i < 8; i++) {
        const old = await login('ada');
        const token = (await manager.rotateToken(old)) as string;
        await manager.touchToken(token);
        pass(11);
        for (const pair of [`${old}; session=${token}`, `${token}; session=${old}`]) {
          expect(await send('/me', { cookie: `session=${pair}` })).toMatchObject({ status: 200 });
        }
      }
    });

    it.each(['older', 'newer'])(
      'ends the session when two former tokens come after the grace without the current one: the %s first',
      async (order) => {
        const { manager, send, login, pass } = await start();
        const reused: unknown[] = [];
        manager.on('reused', (event) => void reused.push(event));
        const first = await login('ada');
        const second = (await manager.rotateToken(first)) as string;
        expect(await send('/me', inCookie(second))).toMatchObject({ status: 200 });
        const third = (await manager.rotateToken(second)) as string;
        expect(await send('/me', inCookie(third))).toMatchObject({ status: 200 });
        pass(11);
        const pair = order === 'older' ? [first, second] : [second, first];
        const refused = await send('/me', inCookie(pair.join('; session=')));
        expect(refused).toMatchObject({ status: 401, body: { error: 'unauthenticated', reason: 'reused' } });
        expect(reused).toEqual([{ userId: 'ada', sessionId: idOf(first), ended: true }]);
        expect(await manager.listUserToken('ada')).toEqual([]);
        expect((await send('/me', inCookie(third))).body).toEqual({ error: 'unauthenticated', reason: 'reused' });
      },
    );

    it('keeps its cookie against a stale parallel request, which gets 401', async () => {
      const { send, login, pass } = await start({ onReuse: 'ignore' });
      const old = await login('ada');
      const { body } = await send('/rotate', inCookie(old));
      await send('/me', inCookie(body.token));
      pass(11);
      expect(await send('/me', inCookie(old))).toMatchObject({ status: 401, setCookie: [] });
      expect(await send('/me', inCookie(body.token))).toMatchObject({ status: 200 });
    });

    it('while the store is down is a 503, and the cookie is kept', async () => {
      const store = new MemoryStore();
      jest.spyOn(store, 'check').mockRejectedValue(new SessionError('ERR_STORE_UNAVAILABLE', 'down'));
      const { send, login } = await start({ store });
      const token = await login('ada');
      for (const path of ['/rotate', '/reauthenticate']) {
        expect(await send(path, inCookie(token))).toMatchObject({ status: 503, setCookie: [] });
        expect(await send('/me', inCookie(token))).toMatchObject({ status: 200 });
      }
    });
  });

  describe('requireRecentLogin', () => {
    it('requires a login or re-authentication within that time', async () => {
      const { send, login, pass } = await start();
      expect(await send('/vault')).toMatchObject({ status: 401, body: { error: 'unauthenticated' } });
      const token = await login('ada');
      pass(RECENT);
      expect(await send('/vault', inCookie(token))).toMatchObject({ status: 200, body: { user: { id: 'ada' } } });
      pass(1);
      const refused = await send('/vault', inCookie(token));
      expect(refused).toMatchObject({ status: 403, setCookie: [] });
      expect(refused.body).toEqual({ error: 'reauthentication_required' });
      expect(await send('/me', inCookie(token))).toMatchObject({ status: 200 });
    });

    it('is satisfied by reauthenticated(), which returns a new token, and sets it if it came in a cookie', async () => {
      const { manager, send, login, pass } = await start();
      const [cookie, header] = [await login('ada'), await login('ada')];
      pass(RECENT + 1);
      const proved = await send('/reauthenticate', inCookie(cookie));
      expect(proved.body).toMatchObject({ user: { id: 'ada' } });
      expect(proved.body.token).not.toBe(cookie);
      expect(proved.setCookie).toEqual([expect.stringContaining(`session=${proved.body.token};`)]);
      const session = await manager.checkToken(proved.body.token as string);
      expect(session?.authenticatedAt.toISOString()).toBe(proved.body.authenticatedAt);
      expect(session?.createdAt.getTime()).toBeLessThan(session?.authenticatedAt.getTime() ?? 0);
      expect(await send('/vault', inCookie(proved.body.token))).toMatchObject({ status: 200 });

      const again = await send('/reauthenticate', inHeader(header));
      expect(again.setCookie).toEqual([]);
      expect(await send('/vault', inHeader(header))).toMatchObject({ status: 403 });
      expect(await send('/vault', inHeader(again.body.token))).toMatchObject({ status: 200 });
    });

    it('counts from a proof within the same request, however long ago the request began', async () => {
      let now = Date.now();
      const store = new MemoryStore({ now: () => now });
      const routes: Routes = {
        '/approve': async (session, query) => {
          now += 1000 * (RECENT + 10);
          await session.reauthenticated();
          now += 1000 * Number(query.get('after'));
          await session.rotate();
          return requireRecentLogin(session, RECENT);
        },
      };
      const { send, login } = await start({ store }, { routes });
      const token = await login('ada');
      expect((await send('/approve?after=0', inCookie(token))).status).toBe(200);
      expect((await send(`/approve?after=${RECENT + 1}`, inCookie(token))).status).toBe(403);
    });

    it.each(['cookie', 'header'])('refuses what a thief rotates from the old token, in a %s', async (place) => {
      const holding = place === 'cookie' ? inCookie : inHeader;
      const { send, login, pass } = await start();
      const stolen = await login('ada');
      pass(RECENT + 1);
      const { token: proved } = (await send('/reauthenticate', holding(stolen))).body;
      const early = (await send('/rotate', holding(stolen))).body.token;
      expect(await send('/vault', holding(proved))).toMatchObject({ status: 200 });
      const late = (await send('/rotate', holding(stolen))).body.token;
      const again = (await send('/rotate', holding(late))).body.token;
      for (const token of [stolen, early, late, again]) {
        expect(token).not.toBe(proved);
        expect(await send('/me', holding(token))).toMatchObject({ status: 200, body: { user: { id: 'ada' } } });
        const refused = await send('/vault', holding(token));
        expect(refused).toMatchObject({ status: 403, body: { error: 'reauthentication_required' } });
      }
      expect(await send('/vault', holding(proved))).toMatchObject({ status: 200 });
    });

    it('uses the store’s clock, and answers 503 while the store is down', async () => {
      const store = new MemoryStore({ now: () => 1_000_000 });
      const { send, login } = await start({ store });
      const token = await login('ada');
      expect(await send('/vault', inCookie(token))).toMatchObject({ status: 200 });
      await store.close();
      const { send: sendAnonymous } = await start({ store }, { onUnavailable: 'anonymous' });
      expect(await sendAnonymous('/vault', inCookie(token))).toMatchObject({ status: 503, setCookie: [] });
    });
  });
});

it.each(ALL_HOSTS)('requireRecentLogin rejects an invalid time: %s', async (_, host) => {
  const session = await anySession(host);
  const guard = async (seconds: unknown) =>
    host.hasMiddleware ? host.requireRecentLogin(seconds) : host.requireRecentLogin(session, seconds);
  for (const seconds of [0, -1, 1.5, Number.NaN]) await expect(guard(seconds)).rejects.toThrow(RangeError);
  await expect(guard('60')).rejects.toThrow(new TypeError('seconds must be a number, got a value of type string'));
});

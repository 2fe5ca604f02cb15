import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import express, { type ErrorRequestHandler } from 'express';
import Koa from 'koa';
import { MemoryStore, RedisStore, SessionError, type Store, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import { sessionOpener } from 'tokensession/fetch';
import * as forKoa from 'tokensession/koa';
import { APPS, type AppOptions, type Detail, listen, type Routes, type Session } from '../support/apps';
import { ask } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import { gate } from '../support/gate';
import { ALL_HOSTS } from '../support/hosts';
import type { Mount } from '../support/hosts/host';
import { sendRaw } from '../support/raw-request';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { wrapStore } from '../support/wrapped-store';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe.each(APPS)('%s', (name, build, { begin, isNode }) => {
  const onClose = closeAfterEach();

  function manage(store: Store = new MemoryStore(), getUserInfo?: (id: string) => Detail | null) {
    const manager = new TokenManager<Detail>({ store, secret: SECRET, ...(getUserInfo && { getUserInfo }) });
    onClose(() => manager.close());
    return manager;
  }

  async function start(options: AppOptions & { manager?: TokenManager<Detail> } = {}) {
    const { manager = manage(), ...appOptions } = options;
    const app = await listen(build(manager, appOptions));
    onClose(app.close);
    const send = (path: string, headers: Record<string, string> = {}) =>
      ask(app.url + path, { headers, method: path === '/me' ? 'GET' : 'POST' });
    const login = async (user: string): Promise<string> => (await send(`/login?user=${user}`)).body.token;
    return { manager, send, login, url: app.url };
  }

  /** A store whose every call fails as a Redis that is down does. */
  const downStore = (): Store => {
    const store = new MemoryStore();
    void store.close();
    return store;
  };

  describe('a refusal of a guard', () => {
    it.each([
      ['/me', 401],
      ['/page', 303],
      ['/vault', 403],
    ])('goes to one client, whatever caches the application allows: %s', async (path, status) => {
      const manager = manage();
      const handle = build(manager, {});
      const app = await listen((req, res) => {
        if (isNode) res.setHeader('Cache-Control', 'private, max-age=60').setHeader('CDN-Cache-Control', 'max-age=60');
        handle(req, res);
      });
      onClose(app.close);
      const { token } = await manager.createSession('ada', { actor: 'support' });
      const answer = await ask(app.url + path, {
        headers: { accept: 'text/html', ...(path === '/vault' && { cookie: `session=${token}` }) },
      });
      const caches = ['cache-control', 'cdn-cache-control'].map((name) => answer.headers.get(name));
      expect([answer.status, ...caches]).toEqual([
        status,
        'no-store',
        isNode && name !== 'node:http' ? 'no-store' : null,
      ]);
    });
  });

  describe('signing in', () => {
    it('works end to end: anonymous, log in, read the user, log out, anonymous', async () => {
      const { send } = await start();
      const refused = await send('/me');
      expect(refused).toMatchObject({ status: 401, body: { error: 'unauthenticated' } });
      expect(refused.headers.get('content-type')).toMatch(/^application\/json/);

      const login = await send('/login?user=ada');
      expect(login).toMatchObject({ status: 200, body: { user: { id: 'ada' } } });
      const cookie = login.setCookie[0]?.split(';')[0] as string;
      expect(cookie).toBe(`session=${login.body.token}`);

      const me = await send('/me', { cookie });
      expect(me).toMatchObject({ status: 200, body: { user: { id: 'ada' } }, setCookie: [] });
      expect(await send('/me', { authorization: `Bearer ${login.body.token}` })).toMatchObject({ status: 200 });

      const logout = await send('/logout', { cookie });
      expect(logout).toMatchObject({ status: 200, body: { user: null } });
      expect(logout.setCookie).toEqual([
        'session=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax',
      ]);
      expect(await send('/me', { cookie })).toMatchObject({ status: 401 });
    });

    it('sets id, times and detail of the session', async () => {
      const { manager, send, login } = await start({
        manager: manage(new MemoryStore(), (id) => ({ name: id.toUpperCase() })),
      });
      const token = await login('ada');
      const { body } = await send('/session', { authorization: `Bearer ${token}` });
      const session = await manager.checkToken(token);
      expect(body).toEqual({
        token,
        user: { id: 'ada', detail: { name: 'ADA' } },
        id: session?.id,
        createdAt: session?.createdAt.toISOString(),
        expiresAt: session?.expiresAt.toISOString(),
      });
      expect((await send('/session')).body).toEqual({
        token: null,
        user: null,
        id: null,
        createdAt: null,
        expiresAt: null,
      });
    });

    it('stores ip and user agent with the session, cut to length, unless others are passed', async () => {
      const long = 'x'.repeat(2000);
      const routes = {
        '/as': (session: Session) => session.login('grace', { attributes: { device: 'tv', ip: 'hidden' } }),
      };
      const { manager, send } = await start({ trustProxy: true, routes });
      await send('/login?user=ada', { 'user-agent': long, 'x-forwarded-for': '2001:db8::1' });
      await send('/as', { 'user-agent': 'curl' });
      expect((await manager.listUserSessions('ada'))[0]?.attributes).toEqual({
        ip: '2001:db8::1',
        userAgent: 'x'.repeat(512),
      });
      expect((await manager.listUserSessions('grace'))[0]?.attributes).toEqual({
        device: 'tv',
        ip: 'hidden',
        userAgent: 'curl',
      });
    });

    it.each([
      ['::ffff:192.0.2.7', '192.0.2.7'],
      ['::FFFF:192.0.2.7', '192.0.2.7'],
      ['::ffff:c000:207', '::ffff:c000:207'],
      ['2001:db8::ffff:1', '2001:db8::ffff:1'],
    ])('stores an IPv4 address as users know it: %s as %s', async (given, ip) => {
      const { manager, send } = await start({ trustProxy: true });
      await send('/login?user=ada', { 'x-forwarded-for': given });
      expect((await manager.listUserSessions('ada'))[0]?.attributes.ip).toBe(ip);
    });

    it('stores no ip where the connection has none: over a Unix socket', async () => {
      const manager = manage();
      const socketPath = join(tmpdir(), `tokensession-${randomUUID()}`);
      const app = createServer(build(manager, {})).listen(socketPath);
      onClose(() => app.close());
      await once(app, 'listening');
      const login = request({ socketPath, path: '/login?user=ada', method: 'POST', agent: false }).end();
      const [response] = await once(login, 'response');
      expect(response.statusCode).toBe(200);
      response.resume();
      expect((await manager.listUserSessions('ada'))[0]?.attributes).toEqual({});
    });

    it('stores neither ip nor user agent when switched off', async () => {
      const routes = {
        '/private': (session: Session) => session.login('ada', { attributes: { ip: undefined, userAgent: undefined } }),
      };
      const { manager, send } = await start({ routes });
      await send('/private', { 'user-agent': 'curl' });
      expect((await manager.listUserSessions('ada'))[0]?.attributes).toEqual({});
    });

    it('takes a ttl', async () => {
      const { manager, send } = await start();
      const { body } = await send('/login?user=ada&ttl=77');
      expect(await manager.checkToken(body.token as string)).toMatchObject({ ttl: 77 });
    });

    it('always makes a new token, and ends the session of the old one: no session fixation', async () => {
      const { manager, send, login } = await start();
      const [own, others] = [await login('ada'), await login('grace')];
      const again = await send('/login?user=ada', { cookie: `session=${own}` });
      expect(again.body.token).not.toBe(own);
      expect(await manager.listUserToken('ada')).toEqual([again.body.token]);

      const taken = await send('/login?user=ada', { cookie: `session=${others}` });
      expect(await manager.listUserToken('grace')).toEqual([]);
      expect(await manager.listUserToken('ada')).toEqual([again.body.token, taken.body.token]);
    });

    it('ends the session of a token in the header, which acts alone', async () => {
      const { manager, send, login } = await start();
      const [inHeader, inCookie] = [await login('ada'), await login('ada')];
      const { body } = await send('/login?user=ada', {
        authorization: `Bearer ${inHeader}`,
        cookie: `session=${inCookie}`,
      });
      expect(await manager.listUserToken('ada')).toEqual([inCookie, body.token]);
    });

    it('twice in one request leaves one session and one cookie', async () => {
      const routes = {
        '/twice': async (session: Session) => {
          await session.login('ada');
          return { token: await session.login('grace') };
        },
      };
      const { manager, send } = await start({ routes });
      const { body, setCookie } = await send('/twice');
      expect(setCookie).toHaveLength(1);
      expect(setCookie[0]).toContain(body.token);
      expect(await manager.listUserToken('ada')).toEqual([]);
      expect(await manager.listUserToken('grace')).toEqual([body.token]);
    });

    it('of a user whom getUserInfo does not know is a 401 without a cookie or a session', async () => {
      const { manager, send } = await start({ manager: manage(new MemoryStore(), () => null) });
      expect(await send('/login?user=nobody')).toMatchObject({ status: 401, setCookie: [] });
      expect(await manager.listUserToken('nobody')).toEqual([]);
    });

    it("after the response has begun starts no session; the error names it, or a visitor's first data", async () => {
      const outcomes: unknown[] = [];
      const routes: Routes = {
        '/late': async (session, _query, res) => {
          begin(session, res);
          outcomes.push(await session.login('ada').catch((error) => error));
          outcomes.push(await session.data.increment('visits').catch((error) => error));
          res.end();
        },
      };
      const { manager, send } = await start({ routes });
      await send('/late');
      const late = (act: string) => ({
        code: 'ERR_HEADERS_SENT',
        status: 500,
        message: expect.stringContaining(`${act} came after`),
      });
      expect(outcomes).toMatchObject([late('login()'), late("the first write of a visitor's session data")]);
      expect(await manager.listUserToken('ada')).toEqual([]);
    });

    it('after the response has begun returns its token where there is no cookie to set', async () => {
      let token = '';
      const routes: Routes = {
        '/stream': async (session, _query, res) => {
          begin(session, res);
          token = await session.login('ada');
          res.end();
        },
      };
      const { manager, send } = await start({ routes, cookie: false });
      await send('/stream');
      expect(await manager.listUserToken('ada')).toEqual([token]);
    });

    it('whose response begins during the store call rejects, and leaves no session', async () => {
      let outcome: unknown;
      const { wait, arrival, open } = gate();
      const store = wrapStore(new MemoryStore(), (method, call) => (method === 'create' ? wait().then(call) : call()));
      const routes: Routes = {
        '/race': async (session, _query, res) => {
          const login = session.login('ada').catch((error) => error);
          await arrival;
          begin(session, res);
          open();
          outcome = await login;
          res.end();
        },
      };
      const { manager, send } = await start({ routes, manager: manage(store) });
      await send('/race');
      expect(outcome).toMatchObject({ code: 'ERR_HEADERS_SENT' });
      expect(await manager.listUserToken('ada')).toEqual([]);
    });

    it('with arguments of the wrong type rejects with the problem, and stores nothing', async () => {
      const outcomes: unknown[] = [];
      const tries: [unknown, unknown?][] = [
        [''],
        [7],
        ['ada', { ttl: 0 }],
        ['ada', { ttl: '60' }],
        ['ada', { tll: 60 }],
        ['ada', { attributes: { ip: 1 } }],
        ['ada', { attributes: { browser: 'x' } }],
        ['\ud800'],
      ];
      const routes = {
        '/nonsense': async (session: Session) => {
          for (const [id, options] of tries)
            outcomes.push(await session.login(id as string, options as object).catch(String));
          outcomes.push(await session.logout({ everywhere: 'yes' } as never).catch(String));
        },
      };
      const { manager, send } = await start({ routes });
      await send('/nonsense');
      expect(outcomes).toEqual([
        'RangeError: userId must not be empty',
        'TypeError: userId must be a string, got a number: pass String(id)',
        'RangeError: ttl must be a whole number from 1 to 3153600000, got 0',
        'TypeError: ttl must be a number, got a value of type string',
        'TypeError: login: unknown option "tll"; known are ttl, absoluteTtl, attributes, actor, keep, persistent',
        'TypeError: attributes.ip must be a string, got a value of type number',
        'TypeError: attributes: unknown option "browser"; known are device, ip, userAgent',
        'RangeError: userId must be well-formed Unicode: it holds a lone surrogate',
        'TypeError: everywhere must be true or false, got a value of type string',
      ]);
      expect(await manager.listUserToken('ada')).toEqual([]);
    });
  });

  describe('signing out', () => {
    it('ends this session, or all of the user', async () => {
      const { manager, send, login } = await start();
      const tokens = [await login('ada'), await login('ada'), await login('ada')] as const;
      await send('/logout', { cookie: `session=${tokens[0]}` });
      expect(await manager.listUserToken('ada')).toEqual(tokens.slice(1));
      await send('/logout?everywhere', { cookie: `session=${tokens[1]}` });
      expect(await manager.listUserToken('ada')).toEqual([]);
    });

    it('does nothing, without a call to the store, for an anonymous request', async () => {
      const { send } = await start({ manager: manage(downStore()) });
      expect(await send('/logout')).toMatchObject({ status: 200, setCookie: [] });
    });

    it("everywhere gives a 503 and ends nothing when the request's user is unknown", async () => {
      const store = new MemoryStore();
      const manager = manage(store);
      const tokens = [await manager.setToken('ada'), await manager.setToken('ada')] as const;
      const blip = Object.assign(Object.create(store) as Store, {
        touch: () => Promise.reject(new SessionError('ERR_STORE_TIMEOUT', 'no answer')),
        end: store.end.bind(store),
        endAll: store.endAll.bind(store),
      });
      const { send } = await start({
        manager: new TokenManager<Detail>({ store: blip, secret: SECRET }),
        onUnavailable: 'anonymous',
      });
      const cookie = `session=${tokens[0]}`;
      expect(await send('/logout?everywhere', { cookie })).toMatchObject({ status: 503, setCookie: [] });
      expect(await manager.listUserToken('ada')).toEqual(tokens);
      expect(await send('/logout', { cookie })).toMatchObject({ status: 200 });
      expect(await manager.listUserToken('ada')).toEqual([tokens[1]]);
    });

    it("everywhere uses the token in the header alone, and ignores another user's in the cookie", async () => {
      const { manager, send, login } = await start();
      const [ada, grace] = [await login('ada'), await login('grace')];
      await send('/logout?everywhere', { authorization: `Bearer ${ada}`, cookie: `session=${grace}` });
      expect([await manager.listUserToken('ada'), await manager.listUserToken('grace')]).toEqual([[], [grace]]);
    });

    it('keeps an unsigned cookie of the same name', async () => {
      const { send } = await start();
      expect((await send('/logout', { cookie: 'session=of-another-application' })).setCookie).toEqual([]);
    });

    it('gives a 503 and keeps the cookie while the store is down: no client may take that for a logout', async () => {
      const manager = manage();
      const token = await manager.setToken('ada');
      const { send } = await start({ manager: manage(downStore()), onUnavailable: 'anonymous' });
      expect(await send('/logout', { cookie: `session=${token}` })).toMatchObject({ status: 503, setCookie: [] });
    });
  });

  describe('a request', () => {
    it.each([
      ['no credentials', {}],
      ['an empty cookie', { cookie: 'session=' }],
      ['a made-up token', { cookie: 'session=admin_x' }],
      ['a forged token', { cookie: `session=${'A'.repeat(22)}.${'A'.repeat(22)}.${'A'.repeat(43)}` }],
      ['a cookie header of nonsense', { cookie: ';;=;session;%zz=%zz;__proto__=x; session=%E0%A4%A' }],
      ['a very long cookie', { cookie: `session=${'x'.repeat(8000)}` }],
      ['Bearer and nothing', { authorization: 'Bearer' }],
      ['Bearer and a foreign token', { authorization: 'Bearer eyJhbGciOiJub25lIn0.e30.' }],
      ['Basic credentials', { authorization: 'Basic YWRhOng=' }],
    ])('with %s is anonymous and makes no call to the store', async (_case, headers) => {
      const { send } = await start({ manager: manage(downStore()) });
      expect(await send('/session', headers)).toMatchObject({ status: 200, body: { user: null }, setCookie: [] });
      expect(await send('/me', headers)).toMatchObject({ status: 401, setCookie: [] });
    });

    it('with a dead token is anonymous, and keeps its cookie: a newer login may have set it', async () => {
      const { manager, send, login } = await start();
      const token = await login('ada');
      await manager.deleteUserToken('ada');
      const response = await send('/session', { cookie: `session=${token}` });
      expect(response).toMatchObject({ status: 200, body: { user: null } });
      expect(response.setCookie).toEqual([]);
      expect(
        (await send('/session', { authorization: `Bearer ${token}`, cookie: `session=${await login('grace')}` })).body
          .user,
      ).toBeNull();
    });

    it('uses a signed token in the header alone, live or dead; an unsigned one does not hide the cookie', async () => {
      const { send, login } = await start();
      const [ada, grace] = [await login('ada'), await login('grace')];
      const cookie = `session=${grace}`;
      expect((await send('/session', { authorization: `Bearer ${ada}`, cookie })).body.user).toEqual({ id: 'ada' });
      expect((await send('/session', { authorization: 'Bearer x', cookie })).body.user).toEqual({ id: 'grace' });
      expect((await send('/session', { authorization: 'Basic x', cookie })).body.user).toEqual({ id: 'grace' });
      expect((await send('/session', { authorization: `bEARER   ${ada} ` })).body.user).toEqual({ id: 'ada' });
    });

    it('accepts any Bearer header as the token, even with a space in it', async () => {
      const { send, login } = await start();
      const cookie = `session=${await login('ada')}`;
      expect((await send('/session', { authorization: 'Bearer x y', cookie })).body.user).toEqual({ id: 'ada' });
      expect((await send('/session', { authorization: 'Bearer x y' })).body.user).toBeNull();
      expect((await send('/session', { authorization: 'Bearerx', cookie })).body.user).toEqual({ id: 'ada' });
    });

    it('with raw bytes in its headers gets a response', async () => {
      const { url } = await start();
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      const bytes = Buffer.from(Array.from({ length: 200 }, (_unused, i) => 0x80 + (i % 0x80)));
      socket.write('GET /session HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: session=');
      socket.write(bytes);
      socket.write('\r\nAuthorization: ');
      socket.write(bytes);
      socket.write('\r\nUser-Agent: ');
      socket.write(bytes);
      socket.write('\r\n\r\n');
      const [first] = (await once(socket, 'data')) as [Buffer];
      expect(first.toString()).toMatch(/^HTTP\/1.1 200/);
      socket.destroy();
    });
  });

  describe('the cookie', () => {
    const attributes = (cookie: string | undefined) => cookie?.split('; ').slice(1).sort();

    it('lives longer than the session on the server, so that sliding needs no new cookie', async () => {
      const { send } = await start();
      const { setCookie } = await send('/login?user=ada&ttl=60');
      expect(attributes(setCookie[0])).toEqual(['HttpOnly', 'Max-Age=34560000', 'Path=/', 'SameSite=Lax']);
    });

    it('is __Host-session with Secure on a request that the framework calls secure', async () => {
      const secure = { 'x-forwarded-proto': 'https' };
      const trusting = await start({ trustProxy: true });
      const { setCookie, body } = await trusting.send('/login?user=ada', secure);
      expect(setCookie[0]).toMatch(/^__Host-session=/);
      expect(attributes(setCookie[0])).toContain('Secure');
      expect(await trusting.send('/me', { ...secure, cookie: `__Host-session=${body.token}` })).toMatchObject({
        status: 200,
      });
      // An insecure page can set the unprefixed name: it must not count on a secure request.
      expect(await trusting.send('/me', { ...secure, cookie: `session=${body.token}` })).toMatchObject({ status: 401 });

      const wary = await start();
      expect((await wary.send('/login?user=ada', secure)).setCookie[0]).toMatch(/^session=/);
    });

    it('without Secure causes one process warning where a proxy says HTTPS and the framework does not', async () => {
      const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
      onClose(() => warn.mockRestore());
      const warnings = () =>
        warn.mock.calls.filter(([, options]) => (options as { code?: string }).code === 'TOKENSESSION_PROXY');
      const secure = { 'x-forwarded-proto': 'https' };
      const trusting = await start({ trustProxy: true });
      await trusting.send('/login?user=ada', secure);
      const set = await start({ cookie: { secure: true } });
      await set.send('/login?user=ada', secure);
      const wary = await start();
      await wary.send('/login?user=ada');
      await wary.send('/login?user=ada', { 'x-forwarded-proto': 'http' });
      await wary.send('/me', secure);
      await wary.send('/login?user=ada', { 'x-forwarded-proto': 'http, https' });
      expect(warnings()).toEqual([]);
      // The first of several proxies is the one that the client spoke to.
      await wary.send('/login?user=ada', { 'x-forwarded-proto': 'https , http' });
      expect(warnings()).toHaveLength(1);
      await wary.send('/login?user=grace', secure);
      expect(warnings()).toEqual([
        [
          expect.stringMatching(/the session's cookie lacks Secure\. Set "trust proxy"/),
          {
            type: 'TokensessionWarning',
            code: 'TOKENSESSION_PROXY',
          },
        ],
      ]);
    });

    it.each([
      [3600, 3600],
      [500 * 24 * 3600, 400 * 24 * 3600],
    ])('lives no longer than absoluteTtl and browsers allow: of %i seconds %i', async (absoluteTtl, maxAge) => {
      const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET, absoluteTtl });
      onClose(() => manager.close());
      const { send } = await start({ manager });
      expect(attributes((await send('/login?user=ada')).setCookie[0])).toContain(`Max-Age=${maxAge}`);
    });

    it('has the attributes in the options, and is deleted with the same ones', async () => {
      const cookie = { name: 'sid', path: '/app', domain: 'example.com', sameSite: 'none', partitioned: true } as const;
      const { send } = await start({ cookie });
      const { setCookie, body } = await send('/login?user=ada');
      expect(setCookie[0]).toMatch(/^sid=/);
      const fixed = ['Domain=example.com', 'HttpOnly', 'Partitioned', 'Path=/app', 'SameSite=None', 'Secure'];
      expect(attributes(setCookie[0])).toEqual([...fixed, 'Max-Age=34560000'].sort());
      const logout = await send('/logout', { cookie: `sid=${body.token}` });
      expect(attributes(logout.setCookie[0])).toEqual(
        [...fixed, 'Max-Age=0', 'Expires=Thu, 01 Jan 1970 00:00:00 GMT'].sort(),
      );
    });

    it('is called __Secure-session when a domain or a path excludes __Host-', async () => {
      const { send } = await start({ trustProxy: true, cookie: { domain: 'example.com' } });
      expect((await send('/login?user=ada', { 'x-forwarded-proto': 'https' })).setCookie[0]).toMatch(
        /^__Secure-session=/,
      );
      expect((await send('/login?user=ada')).setCookie[0]).toMatch(/^session=/);
    });

    it('can be switched off: the token goes out in the body and comes back in the header', async () => {
      const { send } = await start({ cookie: false });
      const { setCookie, body } = await send('/login?user=ada');
      expect(setCookie).toEqual([]);
      expect(await send('/me', { cookie: `session=${body.token}` })).toMatchObject({ status: 401 });
      expect(await send('/me', { authorization: `Bearer ${body.token}` })).toMatchObject({ status: 200 });
    });
  });

  describe('the header', () => {
    it('is named in WWW-Authenticate of a 401, if it is Authorization', async () => {
      const challenge = async (header?: string | false) =>
        (await (await start(header === undefined ? {} : { header })).send('/me')).headers.get('www-authenticate');
      expect(await challenge()).toBe('Bearer');
      expect(await challenge('Authorization')).toBe('Bearer');
      expect(await challenge('X-Session-Token')).toBeNull();
      expect(await challenge(false)).toBeNull();
    });

    it("is named in WWW-Authenticate of a login's 401 as well (RFC 9110, 15.5.2)", async () => {
      const challenge = async (header?: string | false) => {
        const manager = manage(new MemoryStore(), () => null);
        const { send } = await start(header === undefined ? { manager } : { manager, header });
        const response = await send('/login?user=nobody');
        expect(response.status).toBe(401);
        return response.headers.get('www-authenticate');
      };
      expect(await challenge()).toBe('Bearer');
      expect(await challenge('Authorization')).toBe('Bearer');
      expect(await challenge('X-Session-Token')).toBeNull();
      expect(await challenge(false)).toBeNull();
    });

    it('may have another name, and then holds the token alone', async () => {
      const { send, login } = await start({ header: 'X-Session-Token' });
      const token = await login('ada');
      expect(await send('/me', { 'x-session-token': token })).toMatchObject({ status: 200 });
      expect(await send('/me', { 'x-session-token': `Bearer ${token}` })).toMatchObject({ status: 401 });
      expect(await send('/me', { authorization: `Bearer ${token}` })).toMatchObject({ status: 401 });
    });

    it.each(['Authorization', 'X-Session-Token'])('counts for nothing when it comes twice: %s', async (header) => {
      const { login, url } = await start({ header });
      const [ada, eve] = [await login('ada'), await login('eve')].map((token) =>
        header === 'Authorization' ? `Bearer ${token}` : token,
      );
      const statusOf = async (...values: unknown[]) =>
        (await sendRaw(url, 'GET', '/me', ['Host: x', ...values.map((value) => `${header}: ${value}`)])).status;
      expect(await statusOf(ada)).toBe(200);
      for (const pair of [
        [ada, eve],
        [ada, ada],
        [ada, 'x'],
        ['x', ada],
      ]) {
        expect(await statusOf(...pair)).toBe(401);
      }
    });

    it('can be switched off', async () => {
      const { send, login } = await start({ header: false });
      expect(await send('/me', { authorization: `Bearer ${await login('ada')}` })).toMatchObject({ status: 401 });
    });
  });

  describe('while the store is down', () => {
    it('a request with a token gets a 503 with Retry-After and keeps its cookie: no 401, no logout', async () => {
      const token = await manage().setToken('ada');
      const { send } = await start({ manager: manage(downStore()) });
      for (const headers of [{ cookie: `session=${token}` }, { authorization: `Bearer ${token}` }]) {
        const response = await send('/session', headers as Record<string, string>);
        expect(response).toMatchObject({ status: 503, setCookie: [] });
        expect(response.headers.get('retry-after')).toBe('1');
        expect(response.text).not.toContain(token);
      }
    });

    it('a login is a 503 without a cookie', async () => {
      const { send } = await start({ manager: manage(downStore()) });
      const response = await send('/login?user=ada');
      expect(response).toMatchObject({ status: 503, setCookie: [] });
      expect(response.headers.get('retry-after')).toBe('1');
    });

    it("onUnavailable: 'anonymous' lets a logout clear cookies of two users beside a visitor's", async () => {
      const users = await Promise.all(['ada', 'bob'].map((user) => manage().setToken(user)));
      const visitor = await sessionOpener(manage())(new Request('http://localhost/'));
      await visitor.data.set('cart', 'book');
      const { send } = await start({ manager: manage(downStore()), onUnavailable: 'anonymous' });
      const cookie = [...users.map((token) => `session=${token}`), `session-visitor=${visitor.token}`].join('; ');
      const { status, setCookie } = await send('/logout', { cookie });
      expect([status, setCookie.some((line) => line.startsWith('session=;'))]).toEqual([503, true]);
    });

    it("onUnavailable: 'anonymous' serves the request, but requireUser() answers 503", async () => {
      const token = await manage().setToken('ada');
      const { send } = await start({ manager: manage(downStore()), onUnavailable: 'anonymous' });
      const cookie = `session=${token}`;
      expect(await send('/session', { cookie })).toMatchObject({ status: 200, body: { user: null }, setCookie: [] });
      const response = await send('/me', { cookie });
      expect(response).toMatchObject({ status: 503, setCookie: [] });
      expect(response.headers.get('retry-after')).toBe('1');
      expect(await send('/me')).toMatchObject({ status: 401 });
    });

    it("an error that is no outage is a 500, under onUnavailable: 'anonymous', too", async () => {
      const getUserInfo = () => {
        throw new Error('the database is down');
      };
      const token = await manage().setToken('ada');
      const store = new MemoryStore();
      const manager = manage(store, getUserInfo);
      const stored = await manager.setToken('ada');
      const { send } = await start({ manager, onUnavailable: 'anonymous' });
      expect(await send('/session', { cookie: `session=${stored}` })).toMatchObject({ status: 500, setCookie: [] });
      expect(await send('/session', { cookie: `session=${token}` })).toMatchObject({
        status: 200,
        body: { user: null },
      });
    });

    // A timeout made of `setTimeout(reject, ms)` gives no reason, and to Express 'route' means to skip handlers.
    it.each([undefined, null, '', 0, false, 'route', 'router'])(
      'a getUserInfo that rejects with %p fails the request, which does not go on without its user',
      async (reason) => {
        const manager = manage(new MemoryStore(), () => Promise.reject(reason) as never);
        const cookie = `session=${await manager.setToken('ada')}`;
        const { send } = await start({ manager });
        expect(await send('/session', { cookie })).toMatchObject({ status: 500, setCookie: [] });
        expect(await send('/me', { cookie })).toMatchObject({ status: 500, setCookie: [] });
        expect(await send('/login?user=ada')).toMatchObject({ status: 500, setCookie: [] });
      },
    );
  });

  describe('on a real Redis', () => {
    it('an authenticated request costs one EVALSHA; an anonymous, malformed or forged one costs no command', async () => {
      const redis = () => new RedisStore(server.url, { ...PATIENT, ...randomPrefixes() });
      const manager = manage(redis(), (id) => ({ name: id }));
      const { send, login } = await start({ manager });
      const token = await login('ada');
      const forged = token.slice(0, -2) + (token.endsWith('AA') ? 'BB' : 'AA');
      await send('/me', { cookie: `session=${token}` });

      const seen: string[] = [];
      const monitor = await server.admin.monitor();
      monitor.on('monitor', (_time: string, args: string[], source: string) => {
        if (source !== 'lua') seen.push(String(args[0]).toLowerCase());
      });
      for (let i = 0; i < 3; i++) {
        expect((await send('/me', { cookie: `session=${token}` })).body.user).toEqual({
          id: 'ada',
          detail: { name: 'ada' },
        });
      }
      for (const headers of [
        {},
        { cookie: 'session=x' },
        { cookie: `session=${forged}` },
        { authorization: `Bearer ${forged}` },
      ]) {
        expect(await send('/me', headers as Record<string, string>)).toMatchObject({ status: 401 });
      }
      await server.admin.echo('the end');
      while (!seen.includes('echo')) await once(monitor, 'monitor');
      monitor.disconnect();
      expect(seen).toEqual(['evalsha', 'evalsha', 'evalsha', 'echo']);
    });
  });

  describe('req.session', () => {
    it('rejects properties that would be lost with the request', async () => {
      const routes = {
        '/cart': (session: Session) => {
          (session as unknown as { cart: string[] }).cart = ['a book'];
        },
      };
      const { send } = await start({ routes });
      expect(await send('/cart')).toMatchObject({ status: 500 });
    });

    it('prints and serialises without its token', async () => {
      let printed = '';
      const routes = {
        '/print': (session: Session) => {
          printed = `${inspect(session, { depth: 9, showHidden: true })} ${JSON.stringify(session)} ${session}`;
        },
      };
      const { send, login } = await start({ routes });
      const token = await login('ada');
      await send('/print', { cookie: `session=${token}` });
      expect(printed).toContain("id: 'ada'");
      expect(printed).not.toContain(token.split('.').at(-1));
    });
  });
});

describe('sessionMiddleware', () => {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  afterAll(() => manager.close());

  it('keeps cookies that others set on the same response', async () => {
    const app = express();
    app.use(forExpress.sessionMiddleware(manager));
    app.post('/login', async (req, res) => {
      res.cookie('theme', 'dark').cookie('sessionish', 'x');
      await req.session.login('ada');
      res.end();
    });
    const running = await listen(app);
    const response = await fetch(`${running.url}/login`, { method: 'POST' });
    await running.close();
    const names = response.headers.getSetCookie().map((cookie) => cookie.split('=')[0]);
    expect(names).toEqual(['theme', 'sessionish', 'session']);
  });

  it.each([
    ['no manager', undefined, undefined, /^session(?:Middleware|Opener|Plugin) needs a TokenManager, got undefined$/],
    [
      'an unknown option',
      manager,
      { cookies: {} },
      ': unknown option "cookies"; known are cookie, header, onUnavailable',
    ],
    [
      'both transports off',
      manager,
      { cookie: false, header: false },
      'options cookie and header must not both be false',
    ],
    ['an unknown policy', manager, { onUnavailable: 'ignore' }, "option onUnavailable must be 'error' or 'anonymous'"],
    [
      'a header that is no name',
      manager,
      { header: 'X Token' },
      'option header must be a header\'s name, got "X Token"',
    ],
    ['a header of the wrong kind', manager, { header: true }, "option header must be false or a header's name"],
    ['an unknown cookie option', manager, { cookie: { maxAge: 1 } }, 'option cookie: unknown option "maxAge"'],
    ['a cookie that is true', manager, { cookie: true }, 'option cookie: the options must be a plain object'],
    ['an empty cookie name', manager, { cookie: { name: '' } }, 'option cookie.name must not be empty'],
    ['a cookie name with a space', manager, { cookie: { name: 'a b' } }, 'option cookie'],
    ['a cookie domain with a line break', manager, { cookie: { domain: 'a\r\nSet-Cookie: x' } }, 'option cookie'],
    ['a cookie path that is none', manager, { cookie: { path: 'app' } }, 'option cookie.path must begin with /'],
    ['a cookie path with a semicolon', manager, { cookie: { path: '/;Domain=x' } }, 'option cookie'],
    [
      'sameSite of the wrong kind',
      manager,
      { cookie: { sameSite: true } },
      "option cookie.sameSite must be 'strict', 'lax' or 'none'",
    ],
    [
      'sameSite none without Secure',
      manager,
      { cookie: { sameSite: 'none', secure: false } },
      "option cookie.secure must not be false with sameSite 'none'",
    ],
    [
      'partitioned without Secure',
      manager,
      { cookie: { partitioned: true, secure: false } },
      'option cookie.secure must not be false with partitioned',
    ],
    [
      '__Secure- without Secure',
      manager,
      { cookie: { name: '__Secure-s', secure: false } },
      'option cookie.secure must not be false with the name "__Secure-s"',
    ],
    [
      '__Host- with a domain',
      manager,
      { cookie: { name: '__host-s', domain: 'x.com' } },
      'option cookie.domain: a __Host- cookie has none',
    ],
    [
      '__Host- with a path',
      manager,
      { cookie: { name: '__Host-s', path: '/app' } },
      "option cookie.path: a __Host- cookie's is /",
    ],
  ])('rejects %s at construction, on every host', (_, given, options, message) => {
    for (const [, { direct }] of ALL_HOSTS) {
      const build = () => direct(given as never, options as never);
      expect(build).toThrow(TypeError);
      expect(build).toThrow(message);
    }
  });

  it('does not modify its options', () => {
    const options = Object.freeze({ cookie: Object.freeze({ name: '__Host-s' }), header: 'X-Token' });
    for (const [, { direct }] of ALL_HOSTS) expect(() => direct(manager, options)).not.toThrow();
  });
});

/** Mounts the middleware three times, and collects the sessions in between. */
const MOUNTED: Record<string, (manager: TokenManager<Detail>, seen: unknown[]) => RequestListener> = {
  Express: (manager, seen) => {
    const app = express();
    for (let i = 0; i < 3; i++) {
      app.use(forExpress.sessionMiddleware(manager), (req, _res, next) => {
        seen.push(req.session);
        next();
      });
    }
    return app.use((req, res) => void res.json(req.session));
  },
  Koa: (manager, seen) => {
    const app = new Koa();
    for (let i = 0; i < 3; i++) {
      app.use(forKoa.sessionMiddleware(manager));
      app.use((ctx, next) => {
        seen.push(ctx.session);
        return next();
      });
    }
    return app
      .use((ctx) => {
        ctx.body = ctx.session;
      })
      .callback();
  },
};

it.each(Object.entries(MOUNTED))('mounted again, works once, and the session stays the same: %s', async (_, build) => {
  const { store, calls } = countedStore(new MemoryStore());
  const manager = new TokenManager<Detail>({ store, secret: SECRET });
  const seen: unknown[] = [];
  const running = await listen(build(manager, seen));
  const token = await manager.setToken('ada');
  calls.splice(0);
  const response = await fetch(running.url, { headers: { cookie: `session=${token}` } });
  await running.close();
  expect(await response.json()).toMatchObject({ user: { id: 'ada' } });
  expect(calls).toEqual(['touch']);
  expect(seen).toHaveLength(3);
  expect(new Set(seen).size).toBe(1);
  await manager.close();
});

describe.each(ALL_HOSTS)('opened several times for one request: %s', (_, host) => {
  const onClose = closeAfterEach();

  async function ask(mounts: Mount[], token: string) {
    const app = await listen(host.build({ mounts, guardOf: () => 'user', handle: ({ session }) => session }));
    onClose(app.close);
    const response = await fetch(app.url, { headers: { cookie: `session=${token}` } });
    return { status: response.status, body: await response.json() };
  }

  it('with one manager, middleware calls the store once, and an opener of sessions once a time', async () => {
    const { store, calls } = countedStore(new MemoryStore());
    const manager = new TokenManager({ store, secret: SECRET });
    onClose(() => manager.close());
    const token = await manager.setToken('ada');
    calls.splice(0);
    expect((await ask([{ manager }, { manager }, { manager }], token)).body).toMatchObject({ user: { id: 'ada' } });
    expect(calls.length).toBeLessThanOrEqual(host.hasMiddleware ? 1 : 3);
  });

  it('with another manager, the later one counts', async () => {
    const [first, second] = [SECRET, SECRET.toUpperCase()].map(
      (secret) => new TokenManager({ store: new MemoryStore(), secret }),
    ) as [TokenManager, TokenManager];
    onClose(() => Promise.all([first.close(), second.close()]));
    const mounts = [{ manager: first }, { manager: second }];
    expect(await ask(mounts, await second.setToken('grace'))).toMatchObject({ body: { user: { id: 'grace' } } });
    expect(await ask(mounts, await first.setToken('ada'))).toMatchObject({ status: 401 });
  });
});

describe('a 503', () => {
  it("has Retry-After after the application's own error handler, too, unless that sets it", async () => {
    const sessions = new TokenManager({ store: new RedisStore('redis://127.0.0.1:1'), secret: SECRET });
    const token = await new TokenManager({ store: new MemoryStore(), secret: SECRET }).setToken('ada');
    const app = express();
    app.use(forExpress.sessionMiddleware(sessions));
    app.use(((error, req, res, _next) => {
      // Node takes a text, too.
      res.statusCode = req.url === '/text' ? String(error.status) : error.status;
      if (req.url === '/later') res.set('Retry-After', '30');
      res.json({ error: error.code });
    }) satisfies ErrorRequestHandler);
    const running = await listen(app);
    for (const [path, retryAfter] of [
      ['/', '1'],
      ['/text', '1'],
      ['/later', '30'],
    ] as const) {
      const response = await fetch(running.url + path, { headers: { authorization: `Bearer ${token}` } });
      expect(response.status).toBe(503);
      expect(response.headers.get('retry-after')).toBe(retryAfter);
      expect(await response.json()).toEqual({ error: 'ERR_STORE_UNAVAILABLE' });
    }
    await running.close();
    await sessions.close();
  });
});

describe('requireUser', () => {
  it.each(ALL_HOSTS.filter(([, { hasMiddleware }]) => hasMiddleware))(
    'without sessionMiddleware before it lets no one in: %s',
    async (_, host) => {
      const handle = jest.fn();
      const running = await listen(host.build({ mounts: [], guardOf: () => 'user', handle }));
      const { status } = await ask(running.url);
      await running.close();
      expect([status, handle.mock.calls]).toEqual([500, []]);
    },
  );

  it('gives its error to the next of a caller outside Express, too', async () => {
    const next = jest.fn();
    forExpress.requireUser()({} as express.Request, {} as express.Response, next);
    expect(next.mock.calls).toEqual([[new TypeError('requireUser() needs sessionMiddleware() before it')]]);
  });

  it('without sessionMiddleware before it gives an error that says so', async () => {
    const app = express();
    app.set('env', 'test');
    app.get('/', forExpress.requireUser());
    const errors: unknown[] = [];
    app.use(((error, _req, res, _next) => {
      errors.push(error);
      res.sendStatus(500);
    }) satisfies ErrorRequestHandler);
    const running = await listen(app);
    expect((await fetch(running.url)).status).toBe(500);
    await running.close();
    expect(errors).toEqual([new TypeError('requireUser() needs sessionMiddleware() before it')]);
  });
});

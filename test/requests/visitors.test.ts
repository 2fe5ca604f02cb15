import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MemoryStore, type SessionData, SessionError, TokenManager, type TokenManagerOptions } from 'tokensession';
import { EVENT_NAMES } from '../../src/manager/session-events';
import { type AppOptions, type Detail, FRAMEWORKS, serve } from '../support/apps';
import { Browser } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { describeStores, SECRET, type StoreFixture } from '../support/stores';
import { until } from '../support/until';

const onClose = closeAfterEach();

type Framework = keyof typeof FRAMEWORKS;
const HOSTS = Object.keys(FRAMEWORKS) as Framework[];

const ROUTES: AppOptions['routes'] = {
  '/data': (session) => session.data.getAll(),
  '/set': async (session, query) => {
    await session.data.set(Object.fromEntries(query));
    return { id: session.id, token: session.token, user: session.user };
  },
  '/set-many': async (session) => {
    await Promise.all([
      ...Array.from({ length: 10 }, (_, i) => session.data.set(`key-${i}`, i)),
      ...Array.from({ length: 10 }, () => session.data.increment('count')),
      session.data.update('list', (list = []) => [...(list as number[]), 1]),
    ]);
    return session.data.getAll();
  },
  '/read': async (session) => [
    await session.data.get('a'),
    await session.data.pop('a'),
    await session.data.delete('a'),
    await session.data.clear(),
    await session.data.update('a', () => undefined),
  ],
  '/login': async (session, query) => {
    const keep = query.getAll('keep');
    const token = await session.login(query.get('user') ?? 'ada', { keep });
    return { token, id: session.id, data: await session.data.getAll() };
  },
  '/rotate': async (session) => {
    const token = await session.rotate();
    return { token, id: session.id, data: await session.data.getAll() };
  },
  '/set-rotate': async (session, query) => {
    await session.data.set(Object.fromEntries(query));
    return { token: await session.rotate() };
  },
  '/set-login': async (session, query) => {
    await session.data.set(Object.fromEntries(query));
    await session.login('ada');
  },
  '/set-rotate-login': async (session, query) => {
    await session.data.set(Object.fromEntries(query));
    await session.rotate();
    await session.login('ada');
  },
  '/logout-then-set': async (session) => {
    await session.logout();
    await session.data.set('after', 1);
    return session.data.getAll();
  },
  '/session': (session) => ({ ...session.toJSON(), endReason: session.endReason, actor: session.actor }),
};

/** An application, a browser that visits it, and the calls to its store. */
async function start(
  framework: Framework,
  options: AppOptions = {},
  policy: Partial<TokenManagerOptions<Detail>> = {},
) {
  const store = policy.store ?? new MemoryStore();
  const appOptions = { ...options, routes: { ...ROUTES, ...options.routes } };
  const { manager, calls, url } = await serve(onClose, FRAMEWORKS[framework], appOptions, { ...policy, store });
  const browser = new Browser(url);
  const visit = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    browser.visit(path, { headers, method });
  return { visit, browser, calls, manager, store, url };
}

describe.each(HOSTS)('on %s, a visitor', (framework) => {
  it('who writes nothing gets no cookie and no record, and costs no call to the store', async () => {
    const { visit, browser, calls } = await start(framework);
    expect((await visit('/data')).body).toEqual({});
    expect((await visit('/read')).body).toEqual([null, null, false, null, null]);
    expect((await visit('/session')).body).toMatchObject({ user: null, id: null });
    expect(browser.cookies.size).toBe(0);
    expect(calls).toEqual([]);
  });

  it('has data before a login, in a cookie that ends with the browser, for one call', async () => {
    const { visit, browser, calls } = await start(framework);
    const first = await visit('/set?cart=book');
    expect(first.headers.getSetCookie()).toEqual([
      expect.stringMatching(/^session-visitor=[^;]+; Path=\/; HttpOnly; SameSite=Lax$/),
    ]);
    expect(first.headers.get('cache-control')).toBe('no-store');
    expect(first.body).toEqual({ id: expect.stringMatching(/^[\w-]{22}$/), token: expect.any(String), user: null });
    expect(calls).toEqual(['create']);
    calls.length = 0;
    expect((await visit('/set?theme=dark')).body.id).toBe(first.body.id);
    expect(calls).toEqual(['touch', 'writeData']);
    expect((await visit('/data')).body).toEqual({ cart: 'book', theme: 'dark' });
    calls.length = 0;
    expect((await visit('/session')).body).toMatchObject({ user: null, id: first.body.id, endReason: null });
    expect(calls).toEqual(['touch']);
    expect(browser.cookies.size).toBe(1);
  });

  it('loses no parallel write of a first request, and gets one session for all', async () => {
    const { visit, calls } = await start(framework);
    const { body } = await visit('/set-many');
    const keys = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`key-${i}`, i]));
    expect(body).toEqual({ ...keys, count: 10, list: [1] });
    expect(calls.filter((call) => call === 'create')).toHaveLength(1);
  });

  it('is not signed in: guards refuse, and no list has the session', async () => {
    const { visit, manager } = await start(framework);
    const { body } = await visit('/set?user=ada');
    expect((await visit('/me')).status).toBe(401);
    expect((await visit('/vault')).status).toBe(401);
    expect((await visit('/me', { Authorization: `Bearer ${body.token}` })).status).toBe(401);
    expect((await visit('/me', { Cookie: `session=${body.token}` })).status).toBe(401);
    expect(await manager.listUserSessions('ada')).toEqual([]);
    for (const token of [body.token]) {
      expect(await manager.checkToken(token)).toBeNull();
      expect(await manager.touchToken(token)).toBeNull();
      expect(await manager.checkTokenOrUpdateUser(token)).toBeNull();
      expect(await manager.inspectToken(token, { touch: true })).toEqual({ session: null, reason: 'unknown' });
      expect(await manager.refreshToken(token)).toBe(false);
      expect(await manager.rotateToken(token)).toBeNull();
      expect(await manager.reauthenticateToken(token)).toBeNull();
    }
    expect(await manager.sessionData(body.token).getAll()).toEqual({ user: 'ada' });
    expect(await manager.deleteToken(body.token)).toBe(true);
    expect((await visit('/data')).body).toEqual({});
  });

  it('keeps at login the data that the login names, under a new token, and nothing else', async () => {
    const { visit, browser, manager } = await start(framework);
    const { body: visitor } = await visit('/set?cart=book&isAdmin=1');
    const { body: user } = await visit('/login?keep=cart&keep=absent');
    expect(user.data).toEqual({ cart: 'book' });
    expect(user.id).not.toBe(visitor.id);
    expect([...browser.cookies.keys()]).toEqual(['session']);
    expect((await visit('/data')).body).toEqual({ cart: 'book' });
    expect(await manager.sessionData(visitor.token).getAll()).toEqual({});
  });

  it('keeps no data at login by default', async () => {
    const { visit } = await start(framework);
    await visit('/set?cart=planted');
    expect((await visit('/login')).body.data).toEqual({});
  });

  it("keeps data of the same user's former session, and not of another user’s", async () => {
    const { visit } = await start(framework);
    await visit('/login?user=ada');
    await visit('/set?cart=book');
    expect((await visit('/login?user=ada&keep=cart')).body.data).toEqual({ cart: 'book' });
    expect((await visit('/login?user=bob&keep=cart')).body.data).toEqual({});
  });

  it('still has the data when the login could not be stored', async () => {
    const { visit, store } = await start(framework);
    await visit('/set?cart=book');
    const refused = jest.spyOn(store, 'create').mockRejectedValueOnce(new SessionError('ERR_STORE_TIMEOUT', 'test'));
    expect((await visit('/login?keep=cart')).status).toBe(503);
    refused.mockRestore();
    expect((await visit('/data')).body).toEqual({ cart: 'book' });
  });

  it('goes on as one session when its request rotates twice at once, and as the user who logs in meanwhile', async () => {
    const routes: AppOptions['routes'] = {
      '/twice': async (session) => {
        const tokens = await Promise.all([session.rotate(), session.rotate()]);
        return [tokens.map((token) => token === session.token), session.endReason, await session.data.getAll()];
      },
      '/meanwhile': async (session) => {
        const [, token] = await Promise.all([session.login('ada', { keep: ['cart'] }), session.rotate()]);
        return [token, session.user, await session.data.getAll()];
      },
    };
    const { visit } = await start(framework, { routes });
    await visit('/set?cart=book');
    expect((await visit('/twice')).body).toEqual([[true, true], null, { cart: 'book' }]);
    expect((await visit('/data')).body).toEqual({ cart: 'book' });
    expect((await visit('/meanwhile')).body).toEqual([null, { id: 'ada' }, { cart: 'book' }]);
  });

  it('finds nothing of the user after a logout', async () => {
    const { visit, browser } = await start(framework);
    await visit('/login');
    await visit('/set?secret=1');
    expect((await visit('/logout-then-set')).body).toEqual({ after: 1 });
    expect([...browser.cookies.keys()]).toEqual(['session-visitor']);
    expect((await visit('/data')).body).toEqual({ after: 1 });
  });

  it('ends with a logout, which deletes the cookie', async () => {
    const { visit, browser, manager } = await start(framework);
    const { body } = await visit('/set?cart=book');
    expect((await visit('/logout')).status).toBe(200);
    expect(browser.cookies.size).toBe(0);
    expect(await manager.sessionData(body.token).getAll()).toEqual({});
  });

  it('has no effect on requests from another origin, and starts no session there', async () => {
    const { visit, browser, calls } = await start(framework);
    const foreign = { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' };
    expect((await visit('/set?cart=planted', foreign, 'POST')).status).toBe(403);
    expect(browser.cookies.size).toBe(0);
    expect(calls).toEqual([]);
    await visit('/set?cart=book');
    calls.length = 0;
    expect((await visit('/set?cart=planted', foreign, 'POST')).status).toBe(403);
    expect(calls).toEqual([]);
    expect((await visit('/data')).body).toEqual({ cart: 'book' });
  });

  it('costs no call with a forged cookie, or with several cookies', async () => {
    const { visit, calls, url } = await start(framework);
    const { body: one } = await visit('/set?a=1');
    const other = (await (await fetch(`${url}/set?b=1`)).json()) as { token: string };
    calls.length = 0;
    const forged = one.token.replace(/.$/, (last: string) => (last === 'A' ? 'Q' : 'A'));
    expect((await visit('/data', { Cookie: `session-visitor=${forged}` })).body).toEqual({});
    const both = `session-visitor=${one.token}; session-visitor=${other.token}`;
    expect((await visit('/data', { Cookie: both })).body).toEqual({});
    expect(calls).toEqual([]);
  });

  it('gives way to a user whose token comes as well', async () => {
    const { visit, browser, calls } = await start(framework);
    await visit('/set?cart=book');
    const visitor = browser.cookies.get('session-visitor') as string;
    await visit('/login');
    browser.cookies.set('session-visitor', visitor);
    calls.length = 0;
    expect((await visit('/session')).body.user).toEqual({ id: 'ada' });
    expect(calls).toEqual(['touch']);
    await visit('/logout');
    expect(browser.cookies.size).toBe(0);
  });

  it.each([
    ['was signed in as well', '/login'],
    ['was signed in until another request has ended that session', '/end-then-login'],
  ])('leaves nothing to the login of another user where a user %s', async (_, path) => {
    const routes: AppOptions['routes'] = {
      '/end-then-login': async (session) => {
        await manager.deleteUserToken('ada');
        await session.rotate();
        await session.login('bob', { keep: ['cart'] });
        return { data: await session.data.getAll() };
      },
    };
    const { visit, browser, url, manager } = await start(framework, { routes });
    const attacker = new Browser(url);
    await attacker.visit('/set?cart=planted');
    await visit('/login');
    browser.cookies.set('session-visitor', attacker.cookies.get('session-visitor') as string);
    expect((await visit(`${path}?user=bob&keep=cart`)).body.data).toEqual({});
    expect(browser.cookies.has('session-visitor')).toBe(false);
  });

  it('continues beside a token of a session that has ended', async () => {
    const { visit, manager } = await start(framework);
    const { body: visitor } = await visit('/set?cart=book');
    const token = await manager.setToken('ada');
    await manager.deleteUserToken('ada');
    const cookies = `session=${token}; session-visitor=${visitor.token}`;
    expect((await visit('/session', { Cookie: cookies })).body).toMatchObject({
      user: null,
      id: visitor.id,
      endReason: 'revoked',
    });
    const refused = await visit('/me', { Cookie: cookies });
    expect([refused.status, refused.body]).toEqual([401, { error: 'unauthenticated', reason: 'revoked' }]);
  });

  it('may use a header instead of cookies', async () => {
    const { visit } = await start(framework, { cookie: false });
    const { body, headers } = await visit('/set?cart=book');
    expect(headers.getSetCookie()).toEqual([]);
    const authorization = { Authorization: `Bearer ${body.token}` };
    expect((await visit('/data', authorization)).body).toEqual({ cart: 'book' });
    const { body: user } = await visit('/login?keep=cart', authorization);
    expect((await visit('/data', { Authorization: `Bearer ${user.token}` })).body).toEqual({ cart: 'book' });
    expect((await visit('/data', authorization)).body).toEqual({});
  });

  it('gets a 503 in an outage, and keeps the cookie', async () => {
    const { visit, browser, store } = await start(framework);
    await visit('/set?cart=book');
    const outage = jest.spyOn(store, 'touch').mockRejectedValue(new SessionError('ERR_STORE_UNAVAILABLE', 'test'));
    expect((await visit('/data')).status).toBe(503);
    outage.mockRestore();
    jest.spyOn(store, 'create').mockRejectedValueOnce(new SessionError('ERR_STORE_UNAVAILABLE', 'test'));
    expect((await visit('/set?x=1', { Cookie: '' })).status).toBe(503);
    expect(browser.cookies.size).toBe(1);
    expect((await visit('/data')).body).toEqual({ cart: 'book' });
  });

  it('has the data with the request when that is eager', async () => {
    const { visit, calls } = await start(framework, { data: 'eager' });
    await visit('/set?cart=book');
    calls.length = 0;
    expect((await visit('/data')).body).toEqual({ cart: 'book' });
    expect(calls).toEqual(['touchWithData']);
  });

  it('has limits for data from the first write on, and those that the options set', async () => {
    const { visit, browser, calls } = await start(framework, {}, { maxDataBytes: 100, maxDataKeys: 2 });
    expect((await visit(`/set?a=${'x'.repeat(100)}`)).status).toBe(413);
    expect((await visit('/set?a=1&b=2&c=3')).status).toBe(413);
    expect([browser.cookies.size, calls]).toEqual([0, []]);
    expect(() => new TokenManager({ store: new MemoryStore(), secret: SECRET, visitorTtl: 0 })).toThrow(
      new RangeError('option visitorTtl must be a whole number from 1 to 3153600000, got 0'),
    );
  });
});

describe.each(HOSTS)('on %s, a visitor under attack', (framework) => {
  const foreign = { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' };

  /** The token of a visitor in another browser, with this data. */
  const visitorOf = async (url: string, query: string) =>
    ((await (await fetch(`${url}/set?${query}`)).json()) as { token: string }).token;

  it('has data beside cookies of two users, and keeps it at the login that replaces them', async () => {
    const { visit, browser, manager, calls } = await start(framework);
    await visit('/set?cart=book');
    const visitor = browser.header;
    const users = `session=${await manager.setToken('ada')}; session=${await manager.setToken('bob')}`;
    calls.length = 0;
    expect((await visit('/data', { Cookie: `${users}; ${visitor}` })).body).toEqual({ cart: 'book' });
    expect(calls).toEqual(['touch', 'readData']);
    const login = await visit('/login?user=eve&keep=cart', { Cookie: `${users}; ${visitor}` });
    expect(login.body.data).toEqual({ cart: 'book' });
  });

  it.each(['/set?a=1', '/login', '/logout'])('loses a planted visitor’s cookie by %s', async (path) => {
    const { visit, manager, url } = await start(framework);
    const session = await manager.setToken('ada');
    const planted = `session-visitor=${await visitorOf(url, 'cart=planted')}`;
    const own = `session-visitor=${await visitorOf(url, 'cart=book')}`;
    const user = path === '/logout' ? `session=${session}; ` : '';
    const answer = await visit(path, { Cookie: `${user}${planted}; ${own}` });
    const about = answer.headers.getSetCookie().filter((line) => line.startsWith('session-visitor='));
    const deleted = about.filter((line) => /^session-visitor=;.*Max-Age=0/.test(line));
    expect(deleted).toContainEqual(expect.stringContaining(`Path=${path.replace(/\?.*/, '')};`));
    if (path.startsWith('/set')) expect(about.at(-1)).toMatch(/^session-visitor=[^;]+~; Path=\//);
    else expect(deleted).toEqual(about);
  });

  it.each([
    ['a first write, when it is dead', '/set?a=1'],
    ['a first write after a logout', '/logout-then-set'],
    ['rotate(), when it is live', '/rotate'],
  ])('loses the only cookie, a planted one, by %s', async (_, path) => {
    const { visit, manager, url } = await start(framework);
    const planted = await visitorOf(url, 'cart=planted');
    if (path.startsWith('/set')) await manager.deleteToken(planted);
    const lines = (await visit(path, { Cookie: `session-visitor=${planted}` })).headers.getSetCookie();
    // It may have another path. Beside the new cookie, one that stayed would leave no visitor.
    expect(lines[0]).toMatch(/^session-visitor=; Max-Age=0; Path=\/(?:set|logout-then-set|rotate);/);
    expect(lines.at(-1)).toMatch(/^session-visitor=[^;]+~; Path=\/;/);
  });

  it('gets no cookie by a rotate() of a token in the header, from an untrusted origin either', async () => {
    const { visit, url } = await start(framework);
    let token = await visitorOf(url, 'cart=book');
    for (const origin of [{}, { Origin: 'https://app.example', 'Sec-Fetch-Site': 'cross-site' }]) {
      const { status, headers, body } = await visit('/rotate', { Authorization: `Bearer ${token}`, ...origin }, 'POST');
      expect([status, body.data, headers.getSetCookie()]).toEqual([200, { cart: 'book' }, []]);
      expect(body.token).not.toBe(token);
      token = body.token;
    }
  });

  it('is deleted nowhere else by a rotate() in the request that started the visitor', async () => {
    const { visit } = await start(framework);
    const { headers, body } = await visit('/set-rotate?cart=book');
    expect(headers.getSetCookie()).toEqual([expect.stringMatching(/^session-visitor=[^;]+~; Path=\/;/)]);
    expect(headers.getSetCookie()[0]).toContain(body.token);
  });

  it.each(['/set-login', '/set-rotate-login'])(
    'is deleted by %s in the request that started the visitor',
    async (path) => {
      const { visit } = await start(framework);
      const lines = (await visit(`${path}?cart=book`)).headers.getSetCookie();
      const about = lines.filter((line) => line.startsWith('session-visitor='));
      expect(about).toEqual([expect.stringMatching(/^session-visitor=; Max-Age=0; Path=\/;/)]);
    },
  );

  it("is found by the visitor's cookie and the header alone: its token is ignored in a user’s cookie", async () => {
    const { visit, manager, url, calls } = await start(framework);
    const [planted, own] = [await visitorOf(url, 'cart=planted'), await visitorOf(url, 'cart=book')];
    const user = await manager.setToken('ada');
    calls.length = 0;
    expect((await visit('/data', { Cookie: `session=${planted}` })).body).toEqual({});
    expect(calls).toEqual([]);
    const both = { Cookie: `session=${planted}; session-visitor=${own}` };
    expect((await visit('/data', both)).body).toEqual({ cart: 'book' });
    expect((await visit('/session', both)).body.endReason).toBeNull();
    const beside = await visit('/session', { Cookie: `session=${planted}; session=${user}` });
    expect(beside.body.user).toEqual({ id: 'ada' });
    expect((await visit('/session', { Cookie: `session-visitor=${user}` })).body).toMatchObject({
      user: null,
      id: null,
    });
  });

  it('is ignored beside a signed token in the header, which acts alone', async () => {
    const { visit, manager, url } = await start(framework);
    const [one, other] = [await visitorOf(url, 'cart=header'), await visitorOf(url, 'cart=cookie')];
    const cookie = { Cookie: `session-visitor=${other}` };
    const byHeader = { ...cookie, Authorization: `Bearer ${one}` };
    expect((await visit('/data', byHeader)).body).toEqual({ cart: 'header' });
    expect((await visit('/session', byHeader)).body.endReason).toBeNull();
    const refused = await visit('/me', byHeader);
    expect([refused.status, refused.body]).toEqual([401, { error: 'unauthenticated' }]);

    const user = await manager.setToken('ada');
    await manager.deleteUserToken('ada');
    const ended = { ...cookie, ...foreign, Authorization: `Bearer ${user}` };
    const answer = await visit('/me', ended, 'POST');
    expect([answer.status, answer.body]).toEqual([401, { error: 'unauthenticated', reason: 'revoked' }]);
    expect(await manager.sessionData(other).getAll()).toEqual({ cart: 'cookie' });
  });

  it.each([
    [true, '"cache", "storage"', '"cache", "cookies", "storage"'],
    [['*'] as const, '"cache", "storage", "clientHints", "executionContexts"', '"*"'],
  ])(
    'begins after a logout with clearSiteData: %j in a cookie that the browser keeps',
    async (clearSiteData, kept, all) => {
      const { visit } = await start(framework, { clearSiteData });
      await visit('/login');
      const answer = await visit('/logout-then-set');
      expect(answer.headers.get('clear-site-data')).toBe(kept);
      expect((await visit('/data')).body).toEqual({ after: 1 });
      expect((await visit('/logout')).headers.get('clear-site-data')).toBe(all);
    },
  );

  it.each(['rotate', 'reauthenticated'] as const)(
    'does not begin by a write of a user’s request whose session %s found ended',
    async (verb) => {
      let outcome: unknown;
      const { visit, browser, manager, calls } = await start(framework, {
        routes: {
          '/write': async (session) => {
            await manager.deleteUserToken('ada');
            await session[verb]();
            outcome = await session.data.set('secret', 1).catch((error: unknown) => error);
            return session.data.getAll();
          },
        },
      });
      await visit('/login');
      calls.length = 0;
      expect((await visit('/write')).body).toEqual({});
      expect(outcome).toMatchObject({ code: 'ERR_NO_SESSION' });
      expect(calls).not.toContain('create');
      expect([...browser.cookies.keys()]).toEqual(['session']);
    },
  );

  it.each([
    ['/login', 'end', {}],
    ['/login?keep=cart', 'endWithData', { cart: 'book' }],
  ] as const)("does not make a login fail when the visitor's session cannot be ended: %s", async (path, verb, data) => {
    const { visit, browser, store } = await start(framework);
    await visit('/set?cart=book');
    jest.spyOn(store, verb).mockRejectedValueOnce(new SessionError('ERR_STORE_TIMEOUT', 'test'));
    expect((await visit(path)).body.data).toEqual(data);
    expect([...browser.cookies.keys()]).toEqual(['session']);
    expect((await visit('/me')).status).toBe(200);
  });

  describe('whose data moves to another session during a parallel write,', () => {
    /** Has another request write at a moment when the new session exists and the former one has not ended yet. */
    const startWriting = async (write: (data: SessionData<Record<string, unknown>>) => Promise<unknown>) => {
      const app = await start(framework);
      await app.visit('/set?cart=book&gone=1&secret=1');
      const token = app.browser.cookies.get('session-visitor')?.slice(0, -1) as string;
      const create = app.store.create.bind(app.store);
      jest.spyOn(app.store, 'create').mockImplementationOnce(async (tag, session) => {
        const created = await create(tag, session);
        await write(app.manager.sessionData(token) as SessionData<Record<string, unknown>>);
        return created;
      });
      const dropped: unknown[] = [];
      app.manager.on('save-dropped', (event) => dropped.push(event));
      return { ...app, dropped };
    };
    const writeAll = async (data: SessionData<Record<string, unknown>>) => {
      await data.set({ cart: 'two books', late: 1 });
      await data.delete('gone');
    };

    it.each([
      ['/login?keep=cart&keep=gone&keep=late', { cart: 'two books', late: 1 }],
      ['/login?keep=cart', { cart: 'two books' }],
      ['/login?keep=late', { late: 1 }],
      ['/login', {}],
      ['/rotate', { cart: 'two books', late: 1, secret: '1' }],
    ])('loses none of the data: %s', async (path, data) => {
      const { visit, dropped } = await startWriting(writeAll);
      expect((await visit(path)).body.data).toEqual(data);
      expect((await visit('/data')).body).toEqual(data);
      expect(dropped).toEqual([]);
    });

    it.each(['/login?keep=cart', '/rotate'])(
      'reports the lost write when the store fails at that moment: %s',
      async (path) => {
        const { visit, dropped, store } = await startWriting((data) => data.set('cart', 'two books'));
        const failing = jest.spyOn(store, 'endWithData').mockImplementationOnce(async (...args) => {
          failing.mockRestore();
          const ended = await store.endWithData(...args);
          jest.spyOn(store, 'writeData').mockRejectedValueOnce(new SessionError('ERR_STORE_TIMEOUT', 'test'));
          return ended;
        });
        const { body } = await visit(path);
        expect(body.data).toMatchObject({ cart: 'book' });
        expect(dropped).toEqual([{ userId: path === '/rotate' ? null : 'ada', sessionId: body.id }]);
      },
    );
  });
});

it('a login moves data from the user’s own session in the step that ends it, without a read before', async () => {
  const { visit, calls } = await start('Express 5');
  await visit('/login');
  await visit('/set?cart=book');
  calls.length = 0;
  expect((await visit('/login?keep=cart')).body.data).toEqual({ cart: 'book' });
  expect(calls).toEqual(['touch', 'create', 'readData']);
});

it.each([[undefined], [null], [7], ['']])(
  'refuses a login of %j by the name of the argument, without a call',
  async (userId) => {
    let thrown: unknown;
    const routes: AppOptions['routes'] = {
      '/bad': async (session) => {
        thrown = await session.login(userId as never).catch((error: unknown) => error);
      },
    };
    const { visit, calls } = await start('Koa 3', { routes });
    await visit('/bad');
    expect(thrown).toMatchObject({ message: expect.stringContaining('userId') });
    expect(calls).toEqual([]);
  },
);

// On Request and Response, it is for the host to abort the request's signal.
describe.each(HOSTS.filter((host) => host !== 'fetch'))('on %s, a visitor', (framework) => {
  it('leaves no session when the client disconnects during the first write', async () => {
    const store = new MemoryStore();
    const { manager } = await start(framework, {}, { store });
    const server = createServer(FRAMEWORKS[framework](manager, { routes: ROUTES })).listen(0, '127.0.0.1');
    onClose(() => new Promise<void>((done) => server.close(() => done())));
    await once(server, 'listening');
    const create = store.create.bind(store);
    const spy = jest.spyOn(store, 'create').mockImplementationOnce(async (tag, session) => {
      const created = await create(tag, session);
      server.closeAllConnections();
      return created;
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(fetch(`${url}/set?cart=book`)).rejects.toThrow();
    expect(spy).toHaveBeenCalledTimes(1);
    await until('it has ended', () => store.size.sessions === 0);
  });

  it('keeps the data when the client disconnects before the login’s cookie could be set', async () => {
    const { store, browser, manager, visit } = await start(framework);
    await visit('/set?cart=book');
    const token = browser.cookies.get('session-visitor')?.slice(0, -1) as string;
    const server = createServer(FRAMEWORKS[framework](manager, { routes: ROUTES })).listen(0, '127.0.0.1');
    onClose(() => new Promise<void>((done) => server.close(() => done())));
    await once(server, 'listening');
    const create = store.create.bind(store);
    jest.spyOn(store, 'create').mockImplementationOnce(async (tag, session) => {
      const created = await create(tag, session);
      server.closeAllConnections();
      return created;
    });
    const ended = new Promise((done) => manager.once('logout', done));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(fetch(`${url}/login?keep=cart`, { headers: { Cookie: browser.header } })).rejects.toThrow();
    await ended;
    expect(await manager.listUserSessions('ada')).toEqual([]);
    expect(await manager.sessionData(token).getAll()).toEqual({ cart: 'book' });
  });
});

describe('the options of a login', () => {
  it.each([
    [{ keep: 'cart' }, TypeError, 'keep must be an array of keys, got a value of type string'],
    [{ keep: [''] }, RangeError, 'keep[0] must not be empty'],
    [{ keep: [1] }, TypeError, 'keep[0] must be a string, got a value of type number'],
    [{ actor: '' }, RangeError, 'actor must not be empty'],
    [{ actor: 7 }, TypeError, 'actor must be a string, got a value of type number'],
    [{ actor: 'x'.repeat(513) }, RangeError, 'actor must have at most 512 characters, got 513'],
  ])('refuse %j', async (options, kind, message) => {
    let thrown: unknown;
    const routes: AppOptions['routes'] = {
      '/bad': async (session) => {
        thrown = await session.login('ada', options as never).catch((error: unknown) => error);
      },
    };
    const { visit, calls } = await start('Koa 3', { routes });
    await visit('/bad');
    expect(thrown).toEqual(new kind(message));
    expect(calls).toEqual([]);
  });
});

describe.each(HOSTS)('on %s, a user for whom another acts', (framework) => {
  it('is marked as such everywhere, through rotations, and never counts as a recent login', async () => {
    const logins: unknown[] = [];
    const { visit, manager } = await start(framework, {
      routes: {
        '/impersonate': async (session) => ({ token: await session.login('ada', { actor: 'admin-7' }) }),
        '/reauthenticate': async (session) => {
          await session.rotate();
          await session.reauthenticated();
          return { actor: session.actor };
        },
      },
    });
    manager.on('login', (event) => logins.push(event));
    await visit('/impersonate');
    expect((await visit('/reauthenticate')).body).toEqual({ actor: 'admin-7' });
    expect((await visit('/session')).body).toMatchObject({ user: { id: 'ada' }, actor: 'admin-7' });
    expect((await visit('/me')).status).toBe(200);
    const refused = await visit('/vault');
    expect([refused.status, refused.body]).toEqual([403, { error: 'reauthentication_required' }]);
    const [listed] = await manager.listUserSessions('ada');
    expect(listed).toMatchObject({ actor: 'admin-7' });
    expect(listed?.attributes).not.toHaveProperty('actor');
    expect(logins).toEqual([expect.objectContaining({ userId: 'ada', actor: 'admin-7' })]);
    await visit('/login');
    expect((await visit('/session')).body.actor).toBeNull();
    expect((await visit('/vault')).status).toBe(200);
  });
});

describeStores((open) => {
  describe('a visitor', () => {
    let fixture: StoreFixture;
    beforeEach(async () => {
      fixture = await open();
    });
    afterEach(() => fixture.close());

    it('begins with the first data in one step, and keeps it', async () => {
      const { visit, manager } = await start('Express 5', {}, { store: fixture.store });
      const { body } = await visit('/set?cart=book&ключ=значение&__proto__=1');
      const data = { cart: 'book', ключ: 'значение' };
      expect(await manager.sessionData(body.token).getAll()).toEqual(
        Object.defineProperty({ ...data }, '__proto__', { value: '1', enumerable: true }),
      );
      expect((await visit('/login?keep=cart&keep=ключ')).body.data).toEqual(data);
    });

    it('is deleted after visitorTtl, which every request slides; no write revives it', async () => {
      const { visit, manager, browser } = await start('Express 5', {}, { store: fixture.store, visitorTtl: 60 });
      const { body } = await visit('/set?cart=book');
      for (let i = 0; i < 3; i++) {
        await fixture.elapse(40_000);
        expect((await visit('/data')).body).toEqual({ cart: 'book' });
      }
      await fixture.elapse(60_000);
      await expect(manager.sessionData(body.token).set('cart', 'late')).rejects.toMatchObject({
        code: 'ERR_NO_SESSION',
      });
      expect((await visit('/data')).body).toEqual({});
      const { body: next } = await visit('/set?cart=new');
      expect(next.id).not.toBe(body.id);
      expect((await visit('/data')).body).toEqual({ cart: 'new' });
      expect(browser.cookies.size).toBe(1);
    });

    it('causes no event, whether it is rotated, logged out, expired or replaced', async () => {
      const { visit, manager } = await start('Express 5', {}, { store: fixture.store, visitorTtl: 60 });
      const seen: unknown[] = [];
      for (const name of EVENT_NAMES) manager.on(name, (event) => seen.push([name, event]));
      const begin = async (): Promise<string> => (await visit('/set?cart=book')).body.token;
      const dataOf = (token: string) => manager.sessionData(token).getAll();
      await begin();
      await visit('/rotate');
      await visit('/logout');
      const expired = await begin();
      await fixture.elapse(60_000);
      expect(await dataOf(expired)).toEqual({});
      const replaced = await begin();
      await manager.createSession('ada', { replaces: [replaced] });
      expect(await dataOf(replaced)).toEqual({});
      expect(seen).toEqual([['login', expect.objectContaining({ userId: 'ada' })]]);
    });

    it('gets another token by rotate(), which the holder of a planted token does not learn', async () => {
      const routes: AppOptions['routes'] = {
        '/rotate': async (session) => {
          const token = await session.rotate();
          await session.data.set('pendingUser', 'ada');
          return { token, same: token === session.token, data: await session.data.getAll() };
        },
      };
      const { visit, browser, manager } = await start('Express 5', { routes }, { store: fixture.store });
      const { body: old } = await visit('/set?cart=book');
      const { body } = await visit('/rotate');
      expect(body).toEqual({ token: expect.any(String), same: true, data: { cart: 'book', pendingUser: 'ada' } });
      expect(body.token).not.toBe(old.token);
      expect(browser.cookies.get('session-visitor')).toBe(`${body.token}~`);
      expect((await visit('/data')).body).toEqual({ cart: 'book', pendingUser: 'ada' });
      expect(await manager.sessionData(old.token).getAll()).toEqual({});
      await expect(manager.sessionData(old.token).set('cart', 'x')).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
    });

    it('gets no token by rotate() after its end', async () => {
      const routes: AppOptions['routes'] = {
        '/rotate': async (session) => {
          await manager.deleteToken(session.token as string);
          return { token: await session.rotate(), id: session.id };
        },
      };
      const { visit, manager } = await start('Koa 3', { routes }, { store: fixture.store });
      await visit('/set?cart=book');
      const { body, headers } = await visit('/rotate');
      expect([body, headers.getSetCookie()]).toEqual([{ token: null, id: null }, []]);
    });

    it('starts no other session where another request has rotated meanwhile: its cookie would be replaced', async () => {
      const rotate: NonNullable<AppOptions['routes']>[string] = async (session) => {
        const token = await session.rotate();
        const outcome = await session.data.set('pendingUser', 'ada').catch((error: SessionError) => error.code);
        return { token, outcome: outcome ?? null, endReason: session.endReason };
      };
      const routes: AppOptions['routes'] = {
        '/rotate': rotate,
        '/slow': async (session, query, res) => {
          await visit('/rotate');
          return rotate(session, query, res);
        },
      };
      const { visit } = await start('Express 5', { routes }, { store: fixture.store });
      await visit('/set?cart=book');
      const { body, headers } = await visit('/slow');
      expect(body).toEqual({ token: null, outcome: 'ERR_NO_SESSION', endReason: null });
      expect(headers.getSetCookie()).toEqual([]);
      expect((await visit('/data')).body).toEqual({ cart: 'book', pendingUser: 'ada' });
    });

    it('makes second factors possible: only the code proves the user, not the password alone', async () => {
      const routes: AppOptions['routes'] = {
        '/password': async (session, query) => {
          if (query.get('password') !== 'right') return { error: 'wrong' };
          await session.rotate();
          await session.data.set('pendingUser', { id: 'ada', until: Date.now() + 5 * 60_000 });
          return { next: '/code' };
        },
        '/code': async (session, query) => {
          const pending = (await session.data.pop('pendingUser')) as { id: string; until: number } | undefined;
          if (pending === undefined || pending.until < Date.now() || query.get('code') !== '123456')
            return { error: 'again' };
          await session.login(pending.id);
          return { user: session.user };
        },
      };
      const { visit } = await start('Koa 3', { routes }, { store: fixture.store });
      expect((await visit('/code?code=123456')).body).toEqual({ error: 'again' });
      expect((await visit('/password?password=right')).body).toEqual({ next: '/code' });
      expect((await visit('/me')).status).toBe(401);
      expect((await visit('/code?code=000000')).body).toEqual({ error: 'again' });
      expect((await visit('/code?code=123456')).body).toEqual({ error: 'again' });
      await visit('/password?password=right');
      expect((await visit('/code?code=123456')).body).toEqual({ user: { id: 'ada' } });
      expect((await visit('/me')).status).toBe(200);
      expect((await visit('/data')).body).toEqual({});
    });
  });
});

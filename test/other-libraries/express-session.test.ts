import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { MemoryStore, SessionError } from 'tokensession';
import { ExpressSessionStore } from 'tokensession/express-session';
import { closeAfterEach } from '../support/closing';
import {
  type AnySession,
  type BridgeOptions,
  called,
  expressSession,
  type Route,
  startBridge,
} from '../support/express-session-app';
import { type RedisServer, startRedis } from '../support/redis-server';
import { until } from '../support/until';

const onClose = closeAfterEach();

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const HOUR = 3_600_000;
/** express-session sets `originalMaxAge` to what is left of a new `maxAge`: a slow one has lost a millisecond. */
const wholeSeconds = (ms: number) => Math.round(ms / 1000);
const KINDS = ['MemoryStore', 'RedisStore'] as const;

describe.each(KINDS)('on %s, express-session', (kind) => {
  const start = (options: BridgeOptions = {}) =>
    startBridge(onClose, { redis: kind === 'RedisStore' ? server.url : undefined, ...options });

  /** An application with one route, to which a browser sends one request after the other. */
  const serve = async (route: Route, session: Record<string, unknown> = {}, options: BridgeOptions = {}) => {
    const app = await start({ session, routes: { '/': route }, ...options });
    const browser = app.browse();
    return { ...app, browser, visit: () => browser.visit('/') };
  };

  it.each([
    ['a Proxy', (session: object) => new Proxy(session, {})],
    ['an object that inherits from it', (session: object) => Object.create(session)],
  ])('keeps the id of a session that the application has put into %s', async (_, wrap) => {
    const app = await start({
      between: [(req, _res, next) => next(void Object.assign(req, { session: wrap(req.session) }))],
      routes: {
        '/': (req) => {
          req.session.cart = req.query.cart ?? req.session.cart;
          return { cart: req.session.cart, isOwn: req.session.id === req.sessionID };
        },
      },
    });
    const [ada, grace] = [app.browse(), app.browse()];
    for (const [browser, cart] of [[ada, 'books'] as const, [grace, 'tea'] as const]) {
      expect((await browser.visit(`/?cart=${cart}`)).body).toEqual({ cart, isOwn: true });
    }
    expect([(await ada.visit('/')).body.isOwn, (await grace.visit('/')).body.isOwn]).toEqual([true, true]);
    expect(await app.store.length()).toBe(2);
  });

  it('creates a session, and finds it again by its cookie', async () => {
    const { visit, browser } = await serve((req) => {
      req.session.hits = (req.session.hits ?? 0) + 1;
      return { hits: req.session.hits, id: req.sessionID };
    });
    const first = await visit();
    expect(first.setCookie).toEqual([expect.stringMatching(/^connect\.sid=s%3A/)]);
    expect(first.body).toEqual({ hits: 1, id: expect.any(String) });
    expect((await visit()).body).toEqual({ hits: 2, id: first.body.id });
    expect((await visit()).setCookie).toEqual([]);
    browser.cookies.clear();
    expect((await visit()).body.hits).toBe(1);
  });

  it('keeps many sessions apart', async () => {
    const { browse, store } = await start();
    const browsers = Array.from({ length: 10 }, browse);
    await Promise.all(browsers.map((browser, i) => browser.visit(`/set?name=${i}`)));
    for (const [i, browser] of browsers.entries()) {
      expect((await browser.visit('/session')).body.data).toMatchObject({ name: String(i) });
    }
    expect(await store.length()).toBe(10);
  });

  it.each([
    ['with end', (_req, res) => res.end('body')],
    ['with an empty body', (_req, res) => res.end()],
    [
      'in several writes',
      (_req, res) => {
        res.write('bo');
        res.end('dy');
      },
    ],
    [
      'with a length',
      (_req, res) => {
        res.setHeader('Content-Length', '4');
        res.end('body');
      },
    ],
  ] satisfies [string, Route][])('has saved the session when it answers %s', async (_, answer) => {
    let id = '';
    const { visit, store } = await serve((req, res) => {
      req.session.saved = true;
      id = req.sessionID;
      answer(req, res);
    });
    await visit();
    expect(await store.get(id)).toMatchObject({ saved: true });
  });

  it('extends the expiry with each request, in cookie and store', async () => {
    const { visit, store } = await serve(
      (req) => {
        req.session.at ??= 1;
        return { id: req.sessionID };
      },
      { cookie: { maxAge: 60_000 }, rolling: true },
    );
    const { body } = await visit();
    const expiry = async () =>
      new Date(((await store.get(body.id)) as { cookie: { expires: string } }).cookie.expires).getTime();
    const first = await expiry();
    await sleep(20);
    const { setCookie } = await visit();
    expect(setCookie).toEqual([expect.stringMatching(/Expires=/)]);
    const second = await expiry();
    expect(second).toBeGreaterThan(first);
    expect(Math.abs(second - Date.now() - 60_000)).toBeLessThan(5000);
  });

  it('starts another session, with another id, where the store has none', async () => {
    const { visit, store } = await serve((req) => {
      req.session.n = (req.session.n ?? 0) + 1;
      return { n: req.session.n, id: req.sessionID };
    });
    const { body } = await visit();
    await store.destroy(body.id);
    const next = await visit();
    expect(next.body).toEqual({ n: 1, id: expect.not.stringContaining(body.id) });
    expect(next.setCookie).toHaveLength(1);
  });

  it('starts another session when the first has expired and left the store', async () => {
    const { visit, store } = await serve(
      (req) => {
        req.session.n = (req.session.n ?? 0) + 1;
        return { n: req.session.n, id: req.sessionID };
      },
      { cookie: { maxAge: 1000 } },
    );
    const { body } = await visit();
    await sleep(1100);
    expect(await store.get(body.id)).toBeNull();
    expect((await visit()).body.n).toBe(1);
  });

  it('makes no call to the store for an unsigned cookie', async () => {
    const { browse, calls } = await start();
    const browser = browse();
    await browser.visit('/set?a=1');
    browser.cookies.set('connect.sid', 's%3Aforged.signature');
    calls.length = 0;
    expect((await browser.visit('/session')).body.data).not.toHaveProperty('a');
    expect(calls).toEqual([]);
  });

  it('reports a failed read, even an error that express-session treats as "no session"', async () => {
    const { browse, inner } = await start();
    const browser = browse();
    await browser.visit('/set?a=1');
    const cookie = browser.header;
    for (const error of [
      new SessionError('ERR_STORE_UNAVAILABLE', 'test'),
      Object.assign(new Error('no such socket'), { code: 'ENOENT' }),
    ]) {
      const broken = jest.spyOn(inner, 'touchWithData').mockRejectedValueOnce(error);
      const { status, setCookie } = await browser.visit('/session');
      expect([status, setCookie]).toEqual([503, []]);
      broken.mockRestore();
    }
    expect(browser.header).toBe(cookie);
    expect((await browser.visit('/session')).body.data).toMatchObject({ a: '1' });
  });

  it('passes on that a session could not be touched, and the answer reaches its client all the same', async () => {
    const { visit, browser, inner, errors, store } = await serve(
      (req, res) => {
        req.session.n ??= 1;
        // Express ends the connection of an error that comes after the answer. The next request must not use it.
        res.set('Connection', 'close');
        if (req.query.longer) req.session.cookie.maxAge = 2 * HOUR;
        return { id: req.sessionID, maxAge: wholeSeconds(req.session.cookie.originalMaxAge) };
      },
      { cookie: { maxAge: HOUR } },
    );
    const { body } = await visit();
    const cookie = browser.header;
    const error = new SessionError('ERR_STORE_UNAVAILABLE', 'test');
    for (const verb of ['writeData', 'refresh'] as const) {
      const broken = jest.spyOn(inner, verb).mockRejectedValueOnce(error);
      const { status, body: answer, setCookie } = await browser.visit('/?longer=1');
      expect([status, answer, setCookie]).toEqual([200, { id: body.id, maxAge: wholeSeconds(2 * HOUR) }, []]);
      broken.mockRestore();
      await until('the error is passed on', () => errors.length > 0);
      expect(errors.splice(0)).toEqual([error]);
    }
    expect(browser.header).toBe(cookie);
    expect((await visit()).body.id).toBe(body.id);
    expect((await browser.visit('/?longer=1')).status).toBe(200);
    const { cookie: stored } = (await store.get(body.id)) as { cookie: { originalMaxAge: number } };
    expect(wholeSeconds(stored.originalMaxAge)).toBe(wholeSeconds(2 * HOUR));
    expect(errors).toEqual([]);
  });

  it('reports a failed save or destroy', async () => {
    const error = new SessionError('ERR_STORE_UNAVAILABLE', 'test');
    const { browse, inner, errors } = await start({ session: { unset: 'destroy' } });
    const browser = browse();
    await browser.visit('/set?a=1');
    for (const [verb, path] of [
      ['writeData', '/set?a=2'],
      ['end', '/destroy'],
    ] as const) {
      const broken = jest.spyOn(inner, verb).mockRejectedValueOnce(error);
      await browser.visit(path);
      broken.mockRestore();
      expect(errors.splice(0)).toEqual([error]);
    }
  });

  it('stores values under the names that it uses itself', async () => {
    const { browse, store } = await start();
    const browser = browse();
    const { body } = await browser.visit('/set?a=1');
    const content = (await store.get(body.id)) as Record<string, unknown>;
    await store.set(body.id, Object.assign(content, { save: 'mine', cookie: content.cookie }));
    await browser.visit('/set?b=2');
    expect((await browser.visit('/session')).body.data).toEqual({ cookie: expect.anything(), a: '1', b: '2' });
    expect(await store.get(body.id)).toMatchObject({ save: 'mine', a: '1', b: '2' });
  });

  it('shows only data and cookie of a session', async () => {
    const { visit } = await serve((req) => {
      req.session.test1 = 1;
      req.session.test2 = 'b';
      const keys: string[] = [];
      for (const key in req.session) keys.push(key);
      return { keys, isOne: req.session instanceof expressSession.Session, id: req.session.id === req.sessionID };
    });
    for (let i = 0; i < 2; i++) {
      const { body } = await visit();
      expect(body).toEqual({ keys: expect.arrayContaining(['cookie', 'test1', 'test2']), isOne: true, id: true });
      expect(body.keys).toHaveLength(3);
    }
  });

  it('saves no session under an id that is not a string', async () => {
    const { visit, store } = await serve((req) => {
      (req as { sessionID: unknown }).sessionID = 7;
      req.session.a = 1;
    });
    expect((await visit()).setCookie).toEqual([]);
    expect(await store.length()).toBe(0);
  });

  it('works when other middleware has removed the cookie from the data', async () => {
    const { browse, manager } = await start();
    const browser = browse();
    const { body } = await browser.visit('/login');
    const [token] = await manager.listUserToken('ada');
    await manager.sessionData(token as string).clear();
    expect((await browser.visit('/session')).body).toEqual({
      id: body.id,
      data: { cookie: expect.objectContaining({ originalMaxAge: null }) },
    });
  });

  describe('the option genid', () => {
    it('sets the id of a visitor, and receives the request', async () => {
      const { visit, store } = await serve(
        (req) => {
          req.session.a = 1;
          return { id: req.sessionID };
        },
        { genid: (req: { url: string }) => `id of ${req.url}` },
      );
      expect((await visit()).body).toEqual({ id: 'id of /' });
      expect(await store.get('id of /')).toMatchObject({ a: 1 });
    });

    it('that returns an id again makes the later session replace the first', async () => {
      const { browse, store } = await start({ session: { genid: () => 'always the same' } });
      await browse().visit('/set?a=1');
      await sleep(5);
      await browse().visit('/set?b=2');
      expect(await store.get('always the same')).toEqual({ b: '2', cookie: expect.anything() });
    });
  });

  describe('the option rolling', () => {
    const hit: Route = (req) => {
      req.session.hit ??= true;
    };
    it('is off by default: the cookie is sent once', async () => {
      const { visit } = await serve(hit);
      expect((await visit()).setCookie).toHaveLength(1);
      expect((await visit()).setCookie).toHaveLength(0);
    });
    it('sends the cookie with every response', async () => {
      const { visit } = await serve(hit, { rolling: true });
      expect((await visit()).setCookie).toHaveLength(1);
      expect((await visit()).setCookie).toHaveLength(1);
    });
    it('sends none for an empty session', async () => {
      const { visit, calls } = await serve(() => null, { rolling: true });
      expect((await visit()).setCookie).toHaveLength(0);
      expect(calls).toEqual([]);
    });
  });

  describe('the option resave', () => {
    it.each([true, false])('%s costs one call for a request that changes nothing', async (resave) => {
      const { visit, calls } = await serve(
        (req) => {
          req.session.a ??= 1;
        },
        { resave },
      );
      await visit();
      calls.length = 0;
      await visit();
      expect(calls).toEqual(['touchWithData']);
    });

    it.each([true, false])(
      '%s takes a millisecond that express-session loses of maxAge for no change',
      async (resave) => {
        const { visit, calls } = await serve(
          (req) => {
            req.session.a ??= 1;
            req.session.cookie.originalMaxAge -= 1;
            return req.session.cookie.originalMaxAge;
          },
          { resave, cookie: { maxAge: 60_000 } },
        );
        await visit();
        calls.length = 0;
        expect((await visit()).body).toBe(59_999);
        expect(calls).toEqual(['touchWithData']);
      },
    );

    it('false saves what has changed, in two calls', async () => {
      const { visit, calls } = await serve((req) => {
        req.session.n = (req.session.n ?? 0) + 1;
        return req.session.n;
      });
      await visit();
      calls.length = 0;
      expect((await visit()).body).toBe(2);
      expect(calls).toEqual(['touchWithData', 'writeData']);
    });

    it('false saves a changed cookie.maxAge', async () => {
      const { visit, store, calls } = await serve(
        (req) => {
          req.session.n ??= 1;
          // A millisecond may pass while express-session works it out.
          if (req.session.cookie.originalMaxAge <= 60_000) req.session.cookie.maxAge = 2 * HOUR;
          return { id: req.sessionID, maxAge: wholeSeconds(req.session.cookie.originalMaxAge) };
        },
        { cookie: { maxAge: 60_000 } },
      );
      const { body } = await visit();
      expect(body.maxAge).toBe(wholeSeconds(2 * HOUR));
      const cookie = ((await store.get(body.id)) as { cookie: { originalMaxAge: number; expires: string } }).cookie;
      expect(wholeSeconds(cookie.originalMaxAge)).toBe(wholeSeconds(2 * HOUR));
      expect(new Date(cookie.expires).getTime()).toBeGreaterThan(Date.now() + HOUR);
      calls.length = 0;
      expect((await visit()).body.maxAge).toBe(wholeSeconds(2 * HOUR));
      expect(calls).toEqual(['touchWithData']);
    });
  });

  describe('the option saveUninitialized', () => {
    it('true saves an empty session', async () => {
      const { visit, store } = await serve((req) => ({ id: req.sessionID }), { saveUninitialized: true });
      const { body, setCookie } = await visit();
      expect(setCookie).toHaveLength(1);
      expect(await store.get(body.id)).toEqual({ cookie: expect.anything() });
    });
    it('false neither saves nor touches an empty session', async () => {
      const { visit, calls } = await serve(() => null);
      expect((await visit()).setCookie).toEqual([]);
      expect(calls).toEqual([]);
    });
  });

  describe('the option unset', () => {
    const toNull: Route = (req) => {
      if (req.session.a === undefined) req.session.a = 1;
      else req.session = null;
      return { id: req.sessionID };
    };
    it('keeps the session by default', async () => {
      const { visit, store } = await serve(toNull);
      const { body } = await visit();
      await visit();
      expect(await store.get(body.id)).toMatchObject({ a: 1 });
    });
    it('destroys it with "destroy"', async () => {
      const { visit, store } = await serve(toNull, { unset: 'destroy' });
      const { body } = await visit();
      await visit();
      expect(await store.get(body.id)).toBeNull();
    });
    it('sets no cookie for a session that the same request unsets', async () => {
      const { visit, store } = await serve(
        (req) => {
          req.session = null;
        },
        { unset: 'destroy' },
      );
      expect((await visit()).setCookie).toEqual([]);
      expect(await store.length()).toBe(0);
    });
  });

  describe('the methods of a session', () => {
    it('destroy ends it', async () => {
      const { browse, store } = await start();
      const browser = browse();
      const { body } = await browser.visit('/set?a=1');
      await browser.visit('/destroy');
      expect(await store.get(body.id)).toBeNull();
    });

    it('destroy can be replaced by the application, as in express-session', async () => {
      const { browse, store } = await start({
        routes: {
          '/audited': async (req) => {
            const { session } = req;
            const { destroy } = session;
            const audit: string[] = [];
            session.destroy = (done: () => void) => {
              audit.push(session.id);
              return destroy.call(session, done);
            };
            await called((done) => session.destroy(done));
            return { audit, session: req.session ?? null };
          },
        },
      });
      const browser = browse();
      const { body } = await browser.visit('/set?a=1');
      expect((await browser.visit('/audited')).body).toEqual({ audit: [body.id], session: null });
      expect(await store.get(body.id)).toBeNull();
    });

    it('regenerate replaces it with an empty one under another id', async () => {
      const { browse, store } = await start({
        routes: {
          '/regenerate': async (req) => {
            const { id } = req.session;
            await called((done) => req.session.regenerate(done));
            req.session.b = 2;
            return { id, next: req.session.id, a: req.session.a ?? null };
          },
        },
      });
      const browser = browse();
      await browser.visit('/set?a=1');
      const { body, setCookie } = await browser.visit('/regenerate');
      expect(body).toEqual({ id: expect.any(String), next: expect.not.stringContaining(body.id), a: null });
      expect(setCookie).toHaveLength(1);
      expect(await store.get(body.id)).toBeNull();
      expect((await browser.visit('/session')).body).toMatchObject({ id: body.next, data: { b: 2 } });
    });

    it('reload reads it again, and gives an error when it has ended', async () => {
      const routes: Record<string, Route> = {
        '/reload': async (req) => {
          req.session.a = 'not saved';
          const content = await called<Record<string, unknown>>((done) => req.sessionStore.get(req.sessionID, done));
          content.b = 'of another request';
          await called((done) => req.sessionStore.set(req.sessionID, content, done));
          await called((done) => req.session.reload(done));
          return req.session;
        },
        '/reload-ended': async (req) => {
          await called((done) => req.sessionStore.destroy(req.sessionID, done));
          const error = await called((done) => req.session.reload(done)).catch((reason) => reason.message);
          return { error };
        },
      };
      const { browse, calls, events } = await start({ routes });
      const browser = browse();
      await browser.visit('/set?a=1');
      calls.length = 0;
      expect((await browser.visit('/reload')).body).toMatchObject({ a: '1', b: 'of another request' });
      expect(calls).toEqual(['touchWithData', 'touchWithData', 'writeData', 'touchWithData']);
      expect((await browser.visit('/session')).body.data).toMatchObject({ a: '1', b: 'of another request' });
      expect((await browser.visit('/reload-ended')).body).toEqual({ error: 'failed to load session' });
      expect(events).toEqual([]);
    });

    it('save saves at once, and the end of the request saves nothing more', async () => {
      const { browse, calls } = await start({
        routes: {
          '/save': async (req) => {
            req.session.n = (req.session.n ?? 0) + 1;
            await called((done) => req.session.save(done));
            const saved = await called<{ n: number }>((done) => req.sessionStore.get(req.sessionID, done));
            calls.push('answer');
            return saved.n;
          },
        },
      });
      const browser = browse();
      expect((await browser.visit('/save')).body).toBe(1);
      expect(calls).toEqual(['create', 'touchWithData', 'answer']);
      calls.length = 0;
      expect((await browser.visit('/save')).body).toBe(2);
      expect(calls).toEqual(['touchWithData', 'writeData', 'touchWithData', 'answer']);
    });

    const ends: [name: string, end: Route, left: number][] = [
      ['destroy', (req) => called((done) => req.session.destroy(done)), 0],
      ['regenerate', (req) => called((done) => req.session.regenerate(done)), 1],
      ['destroy of the store', (req) => called((done) => req.sessionStore.destroy(req.sessionID, done)), 0],
      ['the option unset', (req) => delete req.session, 0],
    ];
    it.each(ends)('%s comes after a save() that was not awaited', async (_name, end, left) => {
      const { browse, manager, store, events, inner } = await start({
        session: { unset: 'destroy' },
        routes: {
          '/end': async (req, res) => {
            req.session.passport = { user: 'ada' };
            req.session.save();
            await end(req, res);
          },
        },
      });
      const browser = browse();
      await browser.visit('/set?cart=book');
      const create = inner.create.bind(inner);
      jest.spyOn(inner, 'create').mockImplementationOnce(async (...session) => {
        await sleep(20);
        return create(...session);
      });
      expect((await browser.visit('/end')).status).toBe(200);
      expect(await manager.listUserSessions('ada')).toEqual([]);
      expect(await store.length()).toBe(left);
      expect(events.map(([name]) => name)).toEqual(['login', 'logout']);
    });

    it('reload comes after a save() that was not awaited', async () => {
      const reload: Route = async (req) => {
        req.session.a = req.query.a;
        req.session.save();
        await called((done) => req.session.reload(done));
        return { a: req.session.a };
      };
      const { browse, events } = await start({ routes: { '/reload': reload } });
      const browser = browse();
      // The first one starts the session.
      for (const a of ['1', '2']) expect((await browser.visit(`/reload?a=${a}`)).body).toEqual({ a });
      expect((await browser.visit('/session')).body.data).toMatchObject({ a: '2' });
      expect(events).toEqual([]);
    });

    it('destroy comes after two save()s of which the first was awaited', async () => {
      const { browse, events, inner } = await start({
        routes: {
          '/end': async (req) => {
            req.session.passport = { user: 'ada' };
            const first = called((done) => req.session.save(done));
            req.session.a = 1;
            const second = called((done) => req.session.save(done));
            await first;
            await called((done) => req.session.destroy(done));
            await second;
          },
        },
      });
      const writeData = inner.writeData.bind(inner);
      jest.spyOn(inner, 'writeData').mockImplementationOnce(async (...change) => {
        await sleep(20);
        return writeData(...change);
      });
      expect((await browse().visit('/end')).status).toBe(200);
      expect(events.map(([name]) => name)).toEqual(['login', 'logout']);
    });

    it('each method gives the error of a store that throws at once, in its callback or to its caller', async () => {
      const error = new Error('the store threw');
      let isBroken = false;
      const call = async (method: string, req: AnySession) => {
        isBroken = true;
        return called((done) => req.session[method](done))
          .catch((reason) => String(reason))
          .finally(() => {
            isBroken = false;
          });
      };
      const { browse } = await start({
        routes: { '/call': (req) => call(req.query.method as string, req) },
        wrap: (store) => {
          for (const method of ['get', 'set', 'destroy'] as const) {
            const original = store[method].bind(store) as (...given: unknown[]) => unknown;
            const throwing = (...given: unknown[]) => {
              if (isBroken) throw error;
              return original(...given);
            };
            Object.assign(store, { [method]: throwing });
          }
        },
      });
      const browser = browse();
      await browser.visit('/set?a=1');
      for (const method of ['reload', 'save', 'destroy', 'regenerate']) {
        expect([method, (await browser.visit(`/call?method=${method}`)).body]).toEqual([method, String(error)]);
      }
    });

    it('touch extends it to its full ttl', async () => {
      const { visit } = await serve(
        async (req) => {
          const before = req.session.cookie.expires.getTime();
          await sleep(5);
          req.session.touch();
          return req.session.cookie.expires.getTime() - before;
        },
        { cookie: { maxAge: 60_000 } },
      );
      expect((await visit()).body).toBeGreaterThanOrEqual(4);
    });
  });

  it('works without a session while a store reports "disconnect"; ours never does', async () => {
    const { visit, store } = await serve((req) => ({ has: req.session !== undefined }));
    store.emit('disconnect');
    expect((await visit()).body).toEqual({ has: false });
    store.emit('connect');
    expect((await visit()).body).toEqual({ has: true });
  });

  it('costs three calls at most for a visitor who signs in, and keeps nothing of the visitor', async () => {
    const { browse, calls, store } = await start();
    const browser = browse();
    const { body: visitor } = await browser.visit('/set?cart=book');
    calls.length = 0;
    const { body: user } = await browser.visit('/login');
    expect(calls).toEqual(['touchWithData', 'end', 'create']);
    expect(user.id).toMatch(/^[\w-]{22}\.[\w-]{22}$/);
    expect((await browser.visit('/session')).body).toEqual({
      id: user.id,
      data: { cookie: expect.anything(), passport: { user: 'ada' } },
    });
    expect(await store.get(visitor.id)).toBeNull();
  });
});

describe.each(KINDS)('on %s, the store alone, used as in the tests of connect-redis,', (kind) => {
  const start = () => startBridge(onClose, { redis: kind === 'RedisStore' ? server.url : undefined });

  it('supports the whole life of sessions', async () => {
    const { store, manager } = await start();
    await store.clear();
    const plain = { foo: 'bar', cookie: { originalMaxAge: null } };
    await store.set('123', plain);
    expect(await store.get('123')).toEqual(plain);

    const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000);
    const leftOf = async (id: string) => {
      const { cookie } = (await store.get(id)) as { cookie: { expires: string } };
      return (new Date(cookie.expires).getTime() - Date.now()) / 1000;
    };
    await store.set('456', { cookie: { originalMaxAge: null, expires: inSeconds(60) } });
    expect(await leftOf('456')).toBeLessThanOrEqual(61);
    await store.touch('456', { cookie: { originalMaxAge: null, expires: inSeconds(90) } });
    expect(await leftOf('456')).toBeGreaterThan(61);
    // As express-openid-connect says it.
    await store.set('456', { cookie: { expires: inSeconds(7200).getTime(), maxAge: 7_200_000 } });
    expect(await leftOf('456')).toBeGreaterThan(7100);

    expect(await store.length()).toBe(2);
    const all = (await store.all()) as { id: string; foo?: string }[];
    expect(all.map(({ foo }) => foo ?? null).sort()).toEqual(['bar', null]);
    for (const { id } of all) expect(await store.get(id)).not.toBeNull();

    await store.destroy('456');
    expect(await store.length()).toBe(1);
    await store.destroy(all.find(({ foo }) => foo === 'bar')?.id as string);
    expect(await store.length()).toBe(0);
    expect(await store.get('123')).toBeNull();

    const count = 1000;
    const cookie = { originalMaxAge: null, expires: inSeconds(600) };
    await Promise.all(Array.from({ length: count }, (_, i) => store.set(`s${i}`, { cookie })));
    expect(await store.length()).toBe(count);
    expect(await store.all()).toHaveLength(count);
    await store.clear();
    expect(await store.length()).toBe(0);
    expect(await store.all()).toEqual([]);

    await store.set('789', { cookie: { originalMaxAge: null, expires: inSeconds(90) } });
    expect(await store.length()).toBe(1);
    await store.set('789', { cookie: { originalMaxAge: null, expires: inSeconds(-90) } });
    expect(await store.length()).toBe(0);
    expect(await manager.health()).toMatchObject({ status: 'up' });
  });

  it('ends an expired session that it touches, as one that it sets', async () => {
    const { store } = await start();
    const expired = { cookie: { originalMaxAge: null, expires: new Date(Date.now() - 1000) } };
    for (const verb of ['touch', 'set'] as const) {
      await store.set('a', { cookie: {} });
      await store[verb]('a', expired);
      expect([verb, await store.length()]).toEqual([verb, 0]);
    }
  });

  it('stores what get() returned under another id, as a session of its own', async () => {
    const { store } = await start();
    await store.set('first', { cart: 'book', cookie: {} });
    const content = (await store.get('first')) as { cart: string };
    await store.set('second', content);
    await store.destroy('first');
    expect(await store.get('second')).toEqual({ cart: 'book', cookie: {} });
    await store.touch('second', { ...content, cookie: { originalMaxAge: 5000 } });
    content.cart = 'hat';
    await store.set('second', content);
    expect(await store.get('second')).toMatchObject({ cart: 'hat' });
    expect(await store.get('first')).toBeNull();
  });

  it('stores what get() of another store returned', async () => {
    const [from, to] = [(await start()).store, (await start()).store];
    await from.set('a', { cart: 'book', cookie: {} });
    await to.set('a', (await from.get('a')) as object);
    expect(await to.get('a')).toEqual({ cart: 'book', cookie: {} });
    expect(await from.get('a')).toEqual({ cart: 'book', cookie: {} });
  });

  it('stores a request’s session under another id, as a session of its own', async () => {
    const { store, browse, manager } = await startBridge(onClose, {
      redis: kind === 'RedisStore' ? server.url : undefined,
      routes: {
        '/copy': async (req) => {
          req.session.cart = 'hat';
          await store.set('copy', req.session);
          await store.touch('copy', req.session);
        },
      },
    });
    const browser = browse();
    await browser.visit('/set?cart=book');
    expect((await browser.visit('/copy')).status).toBe(200);
    expect(await store.get('copy')).toMatchObject({ cart: 'hat' });
    expect((await browser.visit('/session')).body).toMatchObject({ data: { cart: 'hat' } });
    expect(await store.length()).toBe(2);
    await browser.visit('/login');
    const refused = await browser.visit('/copy');
    expect([refused.status, (refused.body as { error: string }).error]).toEqual([
      500,
      expect.stringContaining('only a session of a request can change its user'),
    ]);
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
  });

  it('goes on with what get() returned, under its id, after the user has changed', async () => {
    const { store, manager } = await start();
    await store.set('a', { cart: 'book', cookie: {} });
    const content = (await store.get('a')) as { cart: string; passport?: object };
    content.passport = { user: 'ada' };
    await store.set('a', content);
    content.cart = 'hat';
    await store.set('a', content);
    await store.touch('a', content);
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
    expect(await store.all()).toMatchObject([{ cart: 'hat', passport: { user: 'ada' } }]);
  });

  it('calls the callback if there is one; an error that the callback throws stays the caller’s', async () => {
    const { store, calls } = await start();
    await called((done) => store.set('a', { n: 1, cookie: {} }, done));
    expect(await called((done) => store.get('a', done))).toEqual({ n: 1, cookie: {} });
    expect(await called((done) => store.length(done))).toBe(1);
    expect(await called((done) => store.all(done))).toHaveLength(1);
    calls.length = 0;
    await called((done) => store.touch('a', { cookie: {} }, done));
    expect(calls).toEqual(['refresh']);
    await called((done) => store.destroy('a', done));
    await called((done) => store.clear(done));
    expect(await called((done) => store.get('a', done))).toBeNull();
    const loaded = await called((done) => store.load('a', done));
    expect(loaded).toBeUndefined();
  });

  it.each([
    '',
    '.',
    'a'.repeat(100_000),
    '\0',
    '\ud800',
    '__proto__',
    `${'a'.repeat(22)}.${'b'.repeat(22)}`,
    `${'a'.repeat(22)}.${'a'.repeat(22)}`,
    undefined,
    null,
    7,
    {},
  ])('finds no session under the id %j, and makes none', async (id) => {
    const { store } = await start();
    await store.set('other', { a: 1, cookie: {} });
    expect(await store.get(id as string)).toBeNull();
    await store.touch(id as string, { cookie: {} });
    await store.destroy(id as string);
    expect(await store.length()).toBe(1);
  });

  it.each([undefined, null, 7, {}])('saves nothing under the id %j', async (id) => {
    const { store } = await start();
    await expect(store.set(id as string, { cookie: {} })).rejects.toThrow(/^sid must be a string, got /);
    expect(await store.length()).toBe(0);
  });

  it('names the session that is no object', async () => {
    const { store } = await start();
    for (const verb of ['set', 'touch'] as const) {
      await expect(store[verb]('a', null as never)).rejects.toThrow('session must be an object, got null');
    }
  });

  it('keeps a key with a lone surrogate as UTF-8 does', async () => {
    const { store } = await start();
    await store.set('a', { '\ud800': 1, cookie: {} });
    expect(await store.get('a')).toEqual({ '\ufffd': 1, cookie: {} });
  });

  it('makes no user’s session from an object that has the id of one', async () => {
    const { store, events } = await start();
    await store.set(`${'a'.repeat(22)}.${'b'.repeat(22)}`, { a: 1, cookie: {} });
    expect(await store.length()).toBe(0);
    expect(events).toEqual([['save-dropped', { userId: null, sessionId: 'b'.repeat(22) }]]);
  });

  it('replaces all data when the object has no request', async () => {
    const { store } = await start();
    await store.set('a', { one: 1, two: 2, cookie: {} });
    await store.set('a', { two: 3, cookie: {} });
    expect(await store.get('a')).toEqual({ two: 3, cookie: {} });
    await expect(store.set('a', { passport: { user: 'ada' }, cookie: {} })).rejects.toThrow(
      'only a session of a request can change its user',
    );
  });

  it('loads a session without a request, and saves its changes', async () => {
    const { store } = await start();
    await store.set('a', { one: 1, cookie: {} });
    const session = await called<{ one: number; save(done: () => void): void }>((done) => store.load('a', done));
    session.one = 2;
    await called((done) => session.save(done));
    expect(await store.get('a')).toEqual({ one: 2, cookie: expect.anything() });
  });
});

it('names the invalid argument', async () => {
  const { manager } = await startBridge(onClose);
  const userIdOf = () => null;
  const make = (...args: unknown[]) => Reflect.construct(ExpressSessionStore, args);
  expect(() => make({}, { userIdOf })).toThrow(
    new TypeError('ExpressSessionStore needs a TokenManager, got a value of type object'),
  );
  expect(() => make(manager)).toThrow(new TypeError('option userIdOf must be a function, got undefined'));
  expect(() => make(manager, { userIdOf, legacy: { store: {} } })).toThrow(
    new TypeError('store must be a store of express-session, got a value of type object'),
  );
  // Both have a get; node-redis also has a destroy, which closes the connection.
  for (const client of [createClient(), new Redis({ lazyConnect: true })]) {
    expect(() => make(manager, { userIdOf, legacy: { store: client } })).toThrow(
      new TypeError('store must be a store of express-session, got a Redis client: pass a store that was made with it'),
    );
  }
  expect(() => make(manager, { userIdOf, prefix: 'sess:' })).toThrow(
    'ExpressSessionStore: unknown option "prefix"; known are userIdOf, legacy',
  );
});

it('rejects list and count on a store that cannot list', async () => {
  const { store } = await startBridge(onClose, {
    policy: { store: Object.assign(new MemoryStore(), { tags: undefined }) },
  });
  await expect(store.length()).rejects.toThrow('this store can not list all sessions: it has no method tags');
});

describe.each(["express-session's own store", ...KINDS])('a save that failed, with %s,', (kind) => {
  const error = new SessionError('ERR_STORE_UNAVAILABLE', 'test');

  const start = async () => {
    const other = kind === "express-session's own store" ? new expressSession.MemoryStore() : undefined;
    const failNext = (verb: 'create' | 'writeData') => {
      if (other === undefined) return jest.spyOn(app.inner, verb).mockRejectedValueOnce(error);
      return jest
        .spyOn(other, 'set')
        .mockImplementationOnce(((_id: string, _session: object, done: Done) => setImmediate(done, error)) as never);
    };
    const app = await startBridge(onClose, {
      redis: kind === 'RedisStore' ? server.url : undefined,
      session: { ...(other && { store: other }) },
      routes: {
        '/sign-in': async (req) => {
          await called((done) => req.session.regenerate(done));
          req.session.passport = { user: 'ada' };
          const failing = failNext('create');
          await called((done) => req.session.save(done)).finally(() => failing.mockRestore());
        },
        '/keep': async (req) => {
          req.session.a = 2;
          const failing = failNext('writeData');
          await called((done) => req.session.save(done)).finally(() => failing.mockRestore());
        },
        '/keep-at-the-end': (req) => {
          req.session.a = 3;
          failNext('writeData');
          return 'answered';
        },
      },
    });
    return app;
  };
  type Done = (error: unknown) => void;

  it('is tried again at the end of the answer where the session is another one, as after regenerate', async () => {
    const { browse, errors, manager } = await start();
    const browser = browse();
    await browser.visit('/set?cart=book');
    const { status, setCookie } = await browser.visit('/sign-in');
    expect([status, setCookie]).toEqual([503, [expect.stringMatching(/^connect\.sid=/)]]);
    expect(errors).toEqual([error]);
    expect((await browser.visit('/session')).body.data).toEqual({
      cookie: expect.anything(),
      passport: { user: 'ada' },
    });
    if (kind !== "express-session's own store") expect(await manager.listUserSessions('ada')).toHaveLength(1);
  });

  it('is not tried again in the same session, whose former content and cookie stay', async () => {
    const { browse, errors } = await start();
    const browser = browse();
    await browser.visit('/set?a=1');
    const cookie = browser.header;
    const { status, setCookie } = await browser.visit('/keep');
    expect([status, setCookie, errors]).toEqual([503, [], [error]]);
    expect(browser.header).toBe(cookie);
    expect((await browser.visit('/session')).body.data).toMatchObject({ a: '1' });
  });

  it('at the end of the answer is passed on, after the client has the answer', async () => {
    const { browse, errors } = await start();
    const browser = browse();
    await browser.visit('/set?a=1');
    expect(await browser.visit('/keep-at-the-end')).toMatchObject({ status: 200, body: 'answered' });
    await until('the error is passed on', () => errors.length > 0);
    expect(errors).toEqual([error]);
    expect((await browser.visit('/session')).body.data).toMatchObject({ a: '1' });
  });
});

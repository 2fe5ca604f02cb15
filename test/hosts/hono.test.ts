import { once } from 'node:events';
import type { RequestListener, Server } from 'node:http';
import { connect, constants, createServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import express from 'express';
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import { MemoryStore, SessionError, type TokenManager } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/hono';
import { WebSocket, WebSocketServer } from 'ws';
import { listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { managerMaker } from '../support/managers';
import { SECRET } from '../support/stores';
import { until } from '../support/until';

// Not imported: its types need those of a browser.
const { getRequestListener, serve, upgradeWebSocket } = require('@hono/node-server') as {
  serve(options: { fetch: unknown; port: number; websocket: { server: WebSocketServer } }): Server;
  upgradeWebSocket(
    open: (c: Context) => { onOpen(event: unknown, socket: { close(code: number): void }): void },
  ): MiddlewareHandler;
  getRequestListener(
    fetch: (request: Request, env: { outgoing: Http2ServerResponse }) => Response | Promise<Response>,
    options: { overrideGlobalObjects: boolean },
  ): (req: Http2ServerRequest, res: Http2ServerResponse) => void;
};

const onClose = closeAfterEach();

const newManager = managerMaker(onClose);

const names = (response: Response) => response.headers.getSetCookie().map((line) => line.split('=')[0]);

describe.each([
  ["Hono's own", false],
  ["the application's", true],
])('%s error handler', (_, isOwn) => {
  /** An application that handles these errors. */
  function newApp(manager: TokenManager) {
    const app = new Hono();
    if (isOwn) {
      app.onError((error, c) =>
        error instanceof SessionError ? c.json({ error: error.code }, error.status as 500) : c.text('?', 500),
      );
    }
    app.use(sessionMiddleware(manager));
    return app
      .post('/login', async (c) => c.text(await c.var.session.login(c.req.query('user') ?? '')))
      .all('/', (c) => c.text('in'));
  }

  it('answers 503 with Retry-After while the store is down, for the middleware and for a login', async () => {
    const store = new MemoryStore();
    const manager = newManager({ store });
    const cookie = `session=${await manager.setToken('ada')}`;
    const app = newApp(manager);
    await store.close();
    for (const response of [
      await app.request('/', { headers: { cookie } }),
      await app.request('/login?user=ada', { method: 'POST' }),
    ]) {
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
      expect([await response.json(), names(response)]).toEqual([{ error: 'ERR_STORE_UNAVAILABLE' }, []]);
    }
  });

  it('answers 403 to a page of another origin, and to a banned user', async () => {
    const manager = newManager();
    const headers = { cookie: `session=${await manager.setToken('ada')}`, 'sec-fetch-site': 'cross-site' };
    await manager.banUser('eve');
    const app = newApp(manager);
    expect((await app.request('/', { method: 'POST', headers })).status).toBe(403);
    expect((await app.request('/login?user=eve', { method: 'POST' })).status).toBe(403);
  });

  it('keeps the cookie of an earlier login', async () => {
    const app = newApp(newManager());
    app.post('/fail', async (c) => {
      await c.var.session.login('ada');
      throw new SessionError('ERR_DATA_CONFLICT', 'overtaken');
    });
    const response = await app.request('/fail', { method: 'POST' });
    expect([response.status, names(response)]).toEqual([409, ['session']]);
  });
});

it.each([0, 1])(
  'a login after an error of the middleware that the application swallowed has its cookie, or rejects: %i more',
  async (more) => {
    const manager = newManager();
    const app = new Hono();
    const [failing, ...others] = [{}, ...Array(more).fill({ property: 'other' })].map((options, index) =>
      sessionMiddleware(index === 0 ? manager : newManager({ secret: `${SECRET}.` }), options),
    );
    app.use((c, next) => failing?.(c as never, next).catch(() => next()) as Promise<void>);
    for (const other of others) app.use(other);
    app.post('/', async (c) => c.text(await c.var.session.login('ada').catch((error) => error.code)));
    const touch = jest.spyOn(MemoryStore.prototype, 'touch');
    touch.mockRejectedValueOnce(new SessionError('ERR_STORE_TIMEOUT', 'late'));
    onClose(() => touch.mockRestore());
    const response = await app.request('/', {
      method: 'POST',
      headers: { cookie: `session=${await manager.setToken('bob')}` },
    });
    expect([response.status, names(response)]).toEqual([200, more === 0 ? [] : ['session']]);
    const text = await response.text();
    if (more === 0) expect(text).toBe('ERR_HEADERS_SENT');
    expect(await manager.listUserToken('ada')).toEqual(more === 0 ? [] : [text]);
  },
);

it('keeps cookies and headers that the application sets, on responses of every kind', async () => {
  const app = new Hono().use(sessionMiddleware(newManager()));
  const shared = new Response(null, { status: 204, headers: { 'Set-Cookie': 'theme=dark' } });
  const login = (answer: (c: Context) => Response) => async (c: Context) => {
    await c.var.session.login('ada');
    return answer(c);
  };
  app.post(
    '/json',
    login((c) => c.json({}, 200, { 'Set-Cookie': 'theme=dark', 'Cache-Control': 'public' })),
  );
  app.post(
    '/shared',
    login(() => shared),
  );
  app.post('/redirect', async (c) => {
    c.header('Set-Cookie', 'theme=dark', { append: true });
    await c.var.session.login('ada');
    return c.redirect('/');
  });
  for (const path of ['/json', '/shared', '/redirect']) {
    const response = await app.request(path, { method: 'POST' });
    expect([path, names(response), response.headers.get('cache-control')]).toEqual([
      path,
      ['theme', 'session'],
      'no-store',
    ]);
  }
  expect(shared.headers.getSetCookie()).toEqual(['theme=dark']);
});

it("the context variable is guarded against other values, and another library's is rejected", async () => {
  const manager = newManager();
  const outcomes: unknown[] = [];
  const app = new Hono().use(sessionMiddleware(manager)).get('/', (c) => {
    const { session } = c.var;
    for (const value of [null, undefined, {}, { user: { id: 'eve' } }]) {
      try {
        c.set('session', value as never);
      } catch (error) {
        outcomes.push((error as Error).message);
      }
    }
    c.set('cart' as never, ['tea'] as never);
    return c.json({ isSame: c.var.session === session, cart: c.get('cart' as never) });
  });
  expect(await (await app.request('/')).json()).toEqual({ isSame: true, cart: ['tea'] });
  expect(outcomes).toHaveLength(4);
  for (const message of outcomes) expect(message).toMatch(/^c\.var\.session is tokensession's and takes nothing else/);

  const errors: unknown[] = [];
  const both = new Hono();
  both.onError((error, c) => {
    errors.push(error);
    return c.text('?', 500);
  });
  both.use(async (c, next) => {
    c.set('session' as never, { of: 'another library' } as never);
    await next();
  });
  both.get('/taken', sessionMiddleware(manager), (c) => c.text('in'));
  both.get('/own', sessionMiddleware(manager, { property: 'auth' }), (c) => c.json(c.var.auth.user));
  expect((await both.request('/taken')).status).toBe(500);
  expect(errors).toEqual([expect.objectContaining({ name: 'TypeError' })]);
  expect((errors[0] as Error).message).toMatch(/^c\.var\.session is taken by another middleware/);
  expect((await both.request('/own')).status).toBe(200);
});

it('takes the connection from the option, and rejects an invalid one', async () => {
  const manager = newManager();
  const app = new Hono().use(
    sessionMiddleware(manager, {
      connection: (c) => ({ ip: c.req.header('x-real-ip'), secure: c.req.header('x-forwarded-proto') === 'https' }),
    }),
  );
  app.post('/', async (c) => c.text(await c.var.session.login('ada')));
  const headers = { 'x-real-ip': '192.0.2.7', 'x-forwarded-proto': 'https' };
  expect(names(await app.request('/', { method: 'POST', headers }))).toEqual(['__Host-session']);
  expect((await manager.listUserSessions('ada'))[0]?.attributes).toMatchObject({ ip: '192.0.2.7' });
  expect(() => sessionMiddleware(manager, { connection: 'x' as never })).toThrow(
    'option connection must be a function, got a value of type string',
  );
});

it('stores the address of the socket unless the connection has another, or null for none', async () => {
  const manager = newManager();
  let ip: string | null | undefined;
  const app = new Hono().use(sessionMiddleware(manager, { connection: () => ({ ip }) }));
  app.post('/', async (c) => c.text(await c.var.session.login('ada')));
  const env = { incoming: { socket: { remoteAddress: '192.0.2.1' } } };
  const addresses: unknown[] = [];
  for (ip of [undefined, '192.0.2.7', null]) {
    await app.request('/', { method: 'POST' }, env);
    addresses.push((await manager.listUserSessions('ada'))[0]?.attributes.ip);
    await manager.deleteUserToken('ada');
  }
  expect(addresses).toEqual(['192.0.2.1', '192.0.2.7', undefined]);
});

it('throws for a signal that is first asked for after the response', async () => {
  const manager = newManager();
  const late: unknown[] = [];
  const app = new Hono()
    .use(async (c, next) => {
      await next();
      try {
        late.push(c.var.session.signal);
      } catch (error) {
        late.push(error);
      }
    })
    .use(sessionMiddleware(manager))
    .get('/', (c) => c.text('hello'));
  const authorization = `Bearer ${await manager.setToken('ada')}`;
  expect(await (await app.request('/', { headers: { authorization } })).text()).toBe('hello');
  expect(late).toEqual([expect.objectContaining({ code: 'ERR_HEADERS_SENT' })]);
});

it('over HTTP/2, releases a signal that is read after the client has gone', async () => {
  const manager = newManager();
  let signal: AbortSignal | undefined;
  const app = new Hono<{ Bindings: { outgoing: Http2ServerResponse } }>();
  app.use(sessionMiddleware(manager)).get('/', async (c) => {
    await once(c.env.outgoing.stream, 'close');
    signal = c.var.session.signal;
    return c.text('late');
  });
  const server = createServer(getRequestListener(app.fetch, { overrideGlobalObjects: false })).listen(0);
  onClose(() => server.close());
  await once(server, 'listening');
  const client = connect(`http://localhost:${(server.address() as AddressInfo).port}`);
  onClose(() => client.destroy());
  const stream = client.request({ authorization: `Bearer ${await manager.setToken('ada')}` });
  stream.on('error', () => undefined);
  server.once('request', () => stream.close(constants.NGHTTP2_CANCEL));
  await until('it is read', () => signal !== undefined);
  await sleep(50);
  expect(manager.watched()).toEqual([]);
});

it('aborts the signal of a WebSocket when its user is kicked, and releases it when the client closes', async () => {
  const manager = newManager();
  const app = new Hono();
  app.use(sessionMiddleware(manager)).get(
    '/live',
    upgradeWebSocket((c) => {
      const { signal } = c.var.session;
      return { onOpen: (_, socket) => signal.addEventListener('abort', () => socket.close(4401)) };
    }),
  );
  const server = serve({ fetch: app.fetch, port: 0, websocket: { server: new WebSocketServer({ noServer: true }) } });
  onClose(() => server.close());
  await once(server, 'listening');
  const join = async () => {
    const headers = { authorization: `Bearer ${await manager.setToken('ada')}` };
    const socket = new WebSocket(`ws://localhost:${(server.address() as AddressInfo).port}/live`, { headers });
    onClose(() => socket.terminate());
    await once(socket, 'open');
    return socket;
  };
  const kicked = await join();
  const closed = once(kicked, 'close');
  await manager.deleteUserToken('ada');
  expect((await closed)[0]).toBe(4401);
  const leaving = await join();
  await until('it is watched', () => manager.watched().length === 1);
  leaving.close();
  await until('it is released', () => manager.watched().length === 0);
});

it('a login in an application that is mounted as a handler outlives the renewal of the one around it', async () => {
  let now = Date.now();
  const manager = newManager({ store: new MemoryStore({ now: () => now }), rotateEvery: 60 });
  const inner = new Hono().use(sessionMiddleware(manager)).post('/login', async (c) => {
    await c.var.session.login('bob');
    return c.text('in');
  });
  const app = new Hono().use(sessionMiddleware(manager)).mount('/inner', inner.fetch);
  const cookie = `session=${await manager.setToken('ada')}`;
  now += 61_000;
  const response = await app.request('/inner/login', { method: 'POST', headers: { cookie } });
  const [line = '', ...others] = response.headers.getSetCookie().filter((text) => text.includes('; Path=/;'));
  expect([names(response).at(-1), others]).toEqual(['session', []]);
  expect((await manager.checkToken(/^session=([^;]*)/.exec(line)?.[1] ?? ''))?.user.id).toBe('bob');
});

it.each(['one manager', 'two managers'])('between two mounts with %s, a handler may still log in', async (managers) => {
  const manager = newManager();
  const inner = managers === 'one manager' ? sessionMiddleware(manager) : sessionMiddleware(newManager());
  const app = new Hono().use(sessionMiddleware(manager));
  app.use(async (c, next) => {
    const { session } = c.var;
    await next();
    await session.login('ada');
  });
  app.use(inner).post('/', (c) => c.text('in'));
  const response = await app.request('/', { method: 'POST' });
  expect([response.status, names(response)]).toEqual([200, ['session']]);
});

it('returns the user to the path that the client asked for, in an application mounted as a handler', async () => {
  const below = new Hono().use(sessionMiddleware(newManager())).get('/me', requireUser({ redirectTo: '/login' }));
  const app = new Hono().mount('/api', below.fetch);
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false }) as unknown as RequestListener;
  const behindExpress = express().use('/v1', listener);
  for (const [handler, path] of [
    [listener, '/api/me?a=b'],
    [behindExpress, '/v1/api/me?a=b'],
  ] as const) {
    const server = await listen(handler);
    onClose(server.close);
    const response = await fetch(server.url + path, { redirect: 'manual', headers: { accept: 'text/html' } });
    const location = `/login?returnTo=${encodeURIComponent(path)}`;
    expect([response.status, response.headers.get('location')]).toEqual([303, location]);
  }
});

it('guards in any mounted application', async () => {
  const manager = newManager();
  const below = new Hono().get('/me', requireUser(), (c) => c.json(c.var.session.user.id));
  const app = new Hono().use(sessionMiddleware(manager)).route('/api', below);
  const refused = await app.request('/api/me');
  expect([refused.status, await refused.json()]).toEqual([401, { error: 'unauthenticated' }]);
  const authorization = `Bearer ${await manager.setToken('ada')}`;
  expect(await (await app.request('/api/me', { headers: { authorization } })).json()).toBe('ada');
});

it('a refusal of a guard goes to one client, whatever caches the application allows', async () => {
  const app = new Hono().use(sessionMiddleware(newManager()));
  app.use((c, next) => {
    c.header('Cache-Control', 'private, max-age=60');
    c.header('CDN-Cache-Control', 'max-age=60');
    return next();
  });
  app.get('/', requireUser(), (c) => c.text('in'));
  const { status, headers } = await app.request('/');
  const caches = ['cache-control', 'cdn-cache-control'].map((name) => headers.get(name));
  expect([status, ...caches]).toEqual([401, 'no-store', 'no-store']);
});

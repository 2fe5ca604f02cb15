import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import { RedisStore } from 'tokensession';
import { requireRecentLogin, requireUser, type SessionPluginOptions, sessionPlugin } from 'tokensession/fastify';
import { closeAfterEach } from '../support/closing';
import { managerMaker } from '../support/managers';
import { freePort } from '../support/redis-server';

const onClose = closeAfterEach();

const newManager = managerMaker(onClose);

function newApp() {
  const app = fastify();
  onClose(() => {
    app.server.closeAllConnections();
    return app.close();
  });
  return app;
}

interface Ask {
  url: string;
  method?: string;
  headers?: Record<string, string>;
}

async function ask(app: FastifyInstance, { url, ...init }: Ask) {
  if (app.addresses().length === 0) await app.listen({ port: 0, host: '127.0.0.1' });
  const response = await fetch(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}${url}`, {
    redirect: 'manual',
    ...init,
  });
  const body = await response.text();
  return { statusCode: response.status, headers: response.headers, body, json: () => JSON.parse(body) };
}

it('applies to the registering instance and its children, from the onRequest hook on', async () => {
  const manager = newManager();
  const cookie = `session=${await manager.setToken('ada')}`;
  const app = newApp();
  app.register(async (below) => {
    below.register(sessionPlugin, { manager, prefix: '/ignored', logLevel: 'warn' } as SessionPluginOptions);
    below.addHook('onRequest', async ({ session }, reply) => void reply.header('X-User', session.user?.id));
    below.register(async (further) => further.get('/in', async ({ session }) => session.user), { prefix: '/further' });
  });
  app.get('/beside', async (request) => ({ session: request.session ?? null }));
  const within = await ask(app, { url: '/further/in', headers: { cookie } });
  expect([within.headers.get('x-user'), within.json()]).toEqual(['ada', { id: 'ada' }]);
  expect((await ask(app, { url: '/beside', headers: { cookie } })).json()).toEqual({ session: null });
});

it('has the properties of a fastify-plugin', () => {
  const marks = sessionPlugin as unknown as Record<symbol, unknown>;
  expect(marks[Symbol.for('skip-override')]).toBe(true);
  expect(marks[Symbol.for('plugin-meta')]).toEqual({ name: 'tokensession', fastify: '5.x' });
});

it('keeps the decorator of another plugin, except one of its own', async () => {
  const manager = newManager();
  const taken = newApp();
  taken.decorateRequest('session', null as never);
  taken.register(sessionPlugin, { manager });
  await expect(taken.ready()).rejects.toMatchObject({ code: 'FST_ERR_DEC_ALREADY_PRESENT' });
  const app = newApp();
  app.decorateRequest('session', null as never);
  app.register(sessionPlugin, { manager, property: 'auth' });
  app.get('/', async (request) => (request as unknown as { auth: { user: unknown } }).auth.user);
  const authorization = `Bearer ${await manager.setToken('ada')}`;
  expect((await ask(app, { url: '/', headers: { authorization } })).json()).toEqual({ id: 'ada' });
});

it.each([
  [{}, 'sessionPlugin needs a TokenManager, got undefined'],
  [{ header: 7 }, "option header must be false or a header's name, got a value of type number"],
  [{ cookies: {} }, 'sessionPlugin: unknown option "cookies"'],
])('rejects at ready() for invalid options: %j', async (options, message) => {
  const app = newApp();
  const manager = 'header' in options || 'cookies' in options ? { manager: newManager() } : {};
  app.register(sessionPlugin, { ...manager, ...options } as SessionPluginOptions);
  await expect(app.ready()).rejects.toThrow(message);
});

it("passes an outage to the application's error handler, and adds Retry-After to the response", async () => {
  const manager = newManager({ store: new RedisStore(`redis://127.0.0.1:${await freePort()}`) });
  const token = await newManager().setToken('ada');
  for (const isOwn of [false, true]) {
    const app = newApp();
    if (isOwn) {
      app.setErrorHandler((error: Error & { code?: string; status?: number }, _request, reply) =>
        reply.code(error.status ?? 500).send({ error: error.code }),
      );
    }
    app.register(sessionPlugin, { manager });
    app.get('/', async () => 'in');
    const response = await ask(app, { url: '/', headers: { authorization: `Bearer ${token}` } });
    expect([response.statusCode, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect(isOwn ? response.json() : response.json().code).toEqual(
      isOwn ? { error: 'ERR_STORE_UNAVAILABLE' } : 'ERR_STORE_UNAVAILABLE',
    );
    expect(response.body).not.toContain(token);
  }
});

it('guards in any hook before the handler, and adds to Vary', async () => {
  const manager = newManager();
  const app = newApp();
  app.register(sessionPlugin, { manager });
  app.get('/pre', { preHandler: [requireUser(), requireRecentLogin(60)] }, async () => 'in');
  app.register(async (part) => {
    part.addHook('preValidation', async (_request, reply) => void reply.header('Vary', 'Origin'));
    part.addHook('preHandler', requireUser({ redirectTo: '/login' }));
    part.get('/page', async () => 'in');
  });
  const headers = { cookie: `session=${await manager.setToken('ada')}`, accept: 'text/html' };
  for (const url of ['/pre', '/page']) {
    expect((await ask(app, { url, headers })).body).toBe('in');
  }
  expect((await ask(app, { url: '/pre' })).json()).toEqual({ error: 'unauthenticated' });
  const page = await ask(app, { url: '/page', headers: { accept: 'text/html' } });
  expect([page.statusCode, page.headers.get('location'), page.headers.get('vary')]).toEqual([
    303,
    '/login?returnTo=%2Fpage',
    'Origin, Accept',
  ]);
});

describe.each([
  ['requireUser', requireUser()],
  ['requireRecentLogin', requireRecentLogin(60)],
])('the refusal of %s', (_, guard) => {
  const refusedAfter = (prepare: (reply: FastifyReply) => unknown) => {
    const app = newApp();
    app.register(sessionPlugin, { manager: newManager() });
    app.addHook('onRequest', async (_request, reply) => void prepare(reply));
    app.get('/', { preHandler: guard }, async () => 'in');
    return ask(app, { url: '/' });
  };

  it('is JSON, also where an earlier hook has set another type', async () => {
    const { statusCode, headers, json } = await refusedAfter((reply) => reply.type('text/html'));
    expect([statusCode, headers.get('content-type')]).toEqual([401, 'application/json; charset=utf-8']);
    expect(json()).toEqual({ error: 'unauthenticated' });
  });

  it("goes to Fastify's error handling where HTTP can't carry it, and ends no process", async () => {
    // As for a header with a character that HTTP refuses. Node's own error is no Error of Jest's realm.
    const { statusCode, json } = await refusedAfter(({ raw }) =>
      jest.spyOn(raw, 'writeHead').mockImplementationOnce(() => {
        throw new Error('Invalid character in header content');
      }),
    );
    expect([statusCode, json().message]).toEqual([401, 'Invalid character in header content']);
  });
});

it('names the missing plugin when a guard runs without it', async () => {
  const app = newApp();
  app.get('/', { onRequest: requireUser() }, async () => 'in');
  const response = await ask(app, { url: '/' });
  expect([response.statusCode, response.json().message]).toEqual([500, 'requireUser() needs sessionPlugin before it']);
});

it('a guard throws nothing at a hook that runs it after a wait, as those that combine hooks do', async () => {
  const app = newApp();
  const thrown: unknown[] = [];
  app.addHook('onRequest', (request, reply, done) => {
    nextTurn()
      .then(() => requireUser()(request, reply, done))
      .catch((error) => {
        thrown.push(error);
        done(error);
      });
  });
  app.get('/', async () => 'in');
  const { statusCode, json } = await ask(app, { url: '/' });
  expect([statusCode, json().message]).toEqual([500, 'requireUser() needs sessionPlugin before it']);
  expect(thrown).toEqual([]);
});

it('keeps the cookies that the application sets on the reply, and overrides its Cache-Control', async () => {
  const app = newApp();
  app.register(sessionPlugin, { manager: newManager() });
  app.post('/', async ({ session }, reply) => {
    reply.header('Set-Cookie', 'theme=dark').header('Cache-Control', 'public');
    await session.login('ada');
    return reply.header('Set-Cookie', 'lang=en').send('in');
  });
  const { headers } = await ask(app, { method: 'POST', url: '/' });
  expect(headers.getSetCookie().map((line) => line.split('=')[0])).toEqual(['theme', 'lang', 'session']);
  expect(headers.get('cache-control')).toBe('no-store');
});

import { MemoryStore, RedisStore, SessionError, TokenManager, type TokenManagerOptions } from 'tokensession';
import { type AppOptions, type Detail, FRAMEWORKS, type Session, serve } from '../support/apps';
import { ask } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { type RedisServer, scriptCalls, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { until } from '../support/until';

const onClose = closeAfterEach();

/** An application whose routes use session data, and the calls to its store. */
async function start(
  framework: keyof typeof FRAMEWORKS,
  options: AppOptions = {},
  policy: Partial<TokenManagerOptions<Detail>> = {},
) {
  const routes: AppOptions['routes'] = {
    '/data': (session) => session.data.getAll(),
    '/set': async (session, query) => {
      await session.data.set(Object.fromEntries(query));
      return session.data.getAll();
    },
    '/flash': async (session) => ({ flash: await session.data.pop('flash') }),
    '/count': (session) => session.data.increment('count'),
    '/switch': async (session) => {
      const { data } = session;
      const before = await data.getAll();
      await session.login('bob');
      return [before, await data.getAll(), await session.data.getAll()];
    },
    '/rotate': async (session) => {
      await session.data.set('before', true);
      await session.rotate();
      await session.data.set('after', true);
      return session.data.getAll();
    },
    '/assign': (session) => {
      (session as Session & { cart?: string[] }).cart = [];
    },
    ...options.routes,
  };
  const { manager, calls, url } = await serve(onClose, FRAMEWORKS[framework], { ...options, routes }, policy);
  const token = await manager.setToken('ada');
  const visit = (path: string, by: string | null = token) =>
    ask(url + path, { headers: by === null ? {} : { Authorization: `Bearer ${by}` } });
  calls.length = 0;
  return { visit, calls, manager, token };
}

describe.each(Object.keys(FRAMEWORKS) as (keyof typeof FRAMEWORKS)[])('on %s, session.data', (framework) => {
  it('is there for the next request, and costs nothing when unused', async () => {
    const { visit, calls } = await start(framework);
    expect((await visit('/set?theme=dark&flash=saved')).body).toEqual({ theme: 'dark', flash: 'saved' });
    expect((await visit('/flash')).body).toEqual({ flash: 'saved' });
    expect((await visit('/data')).body).toEqual({ theme: 'dark' });
    calls.length = 0;
    await visit('/me');
    expect(calls).toEqual(['touch']);
    await visit('/data');
    expect(calls).toEqual(['touch', 'touch', 'readData']);
  });

  it('loses no write of parallel requests', async () => {
    const { visit } = await start(framework);
    const paths = Array.from({ length: 20 }, (_, i) => [`/set?key-${i}=${i}`, '/count']).flat();
    await Promise.all(paths.map((path) => visit(path)));
    const { count, ...keys } = (await visit('/data')).body;
    expect(count).toBe(20);
    expect(Object.keys(keys)).toHaveLength(20);
  });

  it('rejects a write when the session has ended, and an assignment with the method to use', async () => {
    const { visit, manager, token } = await start(framework, {
      routes: {
        '/end-then-set': async (session) => {
          await manager.deleteToken(token);
          await session.data.set('key', 1);
        },
      },
    });
    expect((await visit('/assign')).status).toBe(500);
    const refused = await visit('/end-then-set');
    expect(refused.status).toBe(401);
    expect(refused.headers.get('www-authenticate')).toBe('Bearer');
    expect(refused.headers.get('set-cookie')).toBeNull();
  });

  it("rejects with the outage when the request's user could not be determined", async () => {
    const store = new MemoryStore();
    const { visit } = await start(framework, { onUnavailable: 'anonymous' }, { store });
    jest.spyOn(store, 'touch').mockRejectedValue(new SessionError('ERR_STORE_UNAVAILABLE', 'for a test'));
    for (const path of ['/data', '/set?key=1', '/count', '/flash']) expect((await visit(path)).status).toBe(503);
  });

  it('survives a rotation, and does not pass to the next user', async () => {
    const { visit } = await start(framework);
    expect((await visit('/rotate')).body).toEqual({ before: true, after: true });
    expect((await visit('/switch')).body).toEqual([{ before: true, after: true }, {}, {}]);
  });

  it("arrives in the one call of the request with the option data: 'eager'", async () => {
    const { visit, calls } = await start(framework, { data: 'eager' });
    await visit('/set?theme=dark');
    calls.length = 0;
    expect((await visit('/data')).body).toEqual({ theme: 'dark' });
    expect(calls).toEqual(['touchWithData']);
    expect((await visit('/set?theme=light')).body).toEqual({ theme: 'light' });
    expect((await visit('/switch')).body).toEqual([{ theme: 'light' }, {}, {}]);
  });
});

describe('with Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  it.each(['lazy', 'eager'] as const)(
    'is never read from a near cache: writes of another process are there at once (%s)',
    async (data) => {
      const options = { ...randomPrefixes(), ...PATIENT };
      const { visit, calls, manager, token } = await start(
        'Express 5',
        { data },
        { store: new RedisStore(server.url, options), cache: true },
      );
      const other = new TokenManager({ store: new RedisStore(server.url, options), secret: SECRET });
      onClose(() => other.close());
      await until('the near cache answers', async () => {
        calls.length = 0;
        return data === 'eager' || ((await visit('/me')).status === 200 && calls.length === 0);
      });
      for (let i = 0; i < 5; i++) {
        await other.sessionData(token).set('n', i);
        expect((await visit('/data')).body).toEqual({ n: i });
      }
      await manager.deleteToken(token);
      expect((await visit('/data')).body).toEqual({});
    },
  );

  it('is not read by a login that keeps none of it: damaged data keeps no user from signing in', async () => {
    const options = { ...randomPrefixes(), ...PATIENT };
    const routes: AppOptions['routes'] = {
      '/again': (session, query) => session.login('ada', { keep: query.getAll('keep') }),
    };
    const { visit, token } = await start('Express 5', { routes }, { store: new RedisStore(server.url, options) });
    const [tag, sid] = token.split('.');
    await server.admin.hset(`${options.tokenKeyPrefix}:{${tag}}`, `${sid}.d`, 'no MessagePack');
    expect((await visit('/again?keep=theme')).status).toBe(500);
    const again = await visit('/again');
    expect(again.status).toBe(200);
    expect((await visit('/data', again.body)).body).toEqual({});
  });

  it('costs a request that reads it eagerly one command on the server, and one more for a write', async () => {
    const options = { ...randomPrefixes(), ...PATIENT };
    const { visit } = await start('Koa 3', { data: 'eager' }, { store: new RedisStore(server.url, options) });
    const scripts = async (path: string) => {
      await visit(path);
      await server.admin.config('RESETSTAT');
      await visit(path);
      return scriptCalls(server);
    };
    expect(await scripts('/data')).toBe(1);
    // The process reads its own write.
    expect(await scripts('/set?a=1')).toBe(3);
  });
});

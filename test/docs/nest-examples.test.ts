import { RedisStore, TokenManager } from 'tokensession';
import { killExamples, runExample } from '../support/example-process';
import { type RedisServer, startRedis } from '../support/redis-server';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await killExamples();
  await server.stop();
});

describe.each(['express', 'fastify'])('examples/nestjs/%s.mts', (platform) => {
  let url: string;
  const SECRET = { SESSION_SECRET: 'a secret that the tests of the examples share', PORT: '0' };

  const listening = async () => {
    const example = runExample(`nestjs/${platform}.mts`, { ...SECRET, REDIS_URL: server.url });
    return ((await example.printed(/NestJS on \w+: (http:\S+)/))[1] as string).replace('[::1]', 'localhost');
  };

  beforeAll(async () => {
    url = await listening();
  });

  async function ask(method: string, path: string, headers: Record<string, string> = {}, body?: object) {
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    const init = { method, headers: { ...headers, ...type }, body: body === undefined ? null : JSON.stringify(body) };
    const response = await fetch(url + path, init);
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
  }

  async function login(user: string): Promise<{ cookie: string }> {
    const { status, headers, body } = await ask('POST', '/login', {}, { user });
    expect([status, body.id]).toEqual([200, user]);
    return { cookie: headers.getSetCookie()[0]?.split(';')[0] as string };
  }

  it('serves the current user, lists and ends sessions', async () => {
    const [one, two] = [await login('ada'), await login('ada')];
    expect((await ask('GET', '/me', one)).body).toEqual({ id: 'ada', detail: { name: 'Ada Lovelace' } });
    expect((await ask('GET', '/', one)).body).toEqual({ hello: 'ada' });
    const sessions = (await ask('GET', '/sessions', two)).body;
    expect(sessions.length).toBeGreaterThanOrEqual(2);
    expect(sessions.at(-1).attributes.ip).toMatch(/^(::1|127\.0\.0\.1)$/);
    const logout = await ask('POST', '/logout', one);
    expect([logout.status, logout.headers.get('set-cookie')]).toEqual([
      204,
      expect.stringMatching(/^session=; Max-Age=0/),
    ]);
    expect((await ask('DELETE', '/sessions', two)).body.ended).toBeGreaterThanOrEqual(1);
    const refused = await ask('GET', '/me', two);
    expect([refused.status, refused.body]).toEqual([401, { error: 'unauthenticated', reason: 'revoked' }]);
  });

  it('guards every route that is not public, with a challenge', async () => {
    expect((await ask('GET', '/')).body).toEqual({ hello: 'stranger' });
    for (const [method, path] of [
      ['GET', '/me'],
      ['GET', '/sessions'],
      ['DELETE', '/sessions'],
      ['POST', '/logout'],
    ] as const) {
      const { status, headers, body } = await ask(method, path);
      expect([status, body]).toEqual([401, { error: 'unauthenticated' }]);
      expect(headers.get('www-authenticate')).toBe('Bearer');
    }
    expect(await ask('POST', '/login', {}, { user: 'mallory' })).toMatchObject({
      status: 401,
      body: { error: 'ERR_USER_NOT_FOUND' },
    });
  });

  it('answers 403 to a user without a recent login, and ends nothing', async () => {
    const manager = new TokenManager({ store: new RedisStore(server.url), secret: SECRET.SESSION_SECRET });
    const { token } = await manager.createSession('grace', { actor: 'admin-7' });
    await manager.close();
    const refused = await ask('DELETE', '/sessions', { authorization: `Bearer ${token}` });
    expect([refused.status, refused.body]).toEqual([403, { error: 'reauthentication_required' }]);
    expect((await ask('GET', '/me', { authorization: `Bearer ${token}` })).status).toBe(200);
  });

  it('leaves errors of others to Nest', async () => {
    expect(await ask('GET', '/nowhere')).toMatchObject({ status: 404, body: { statusCode: 404, error: 'Not Found' } });
    const broken = await fetch(`${url}/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{',
    });
    expect([broken.status, await broken.json()]).toEqual([400, expect.objectContaining({ statusCode: 400 })]);
  });

  it('refuses a page of another origin, and changes nothing', async () => {
    const cookie = await login('grace');
    const refused = await ask('POST', '/logout', { ...cookie, 'sec-fetch-site': 'cross-site' });
    expect([refused.status, refused.headers.getSetCookie()]).toEqual([403, []]);
    expect((await ask('POST', '/login', { 'sec-fetch-site': 'cross-site' }, { user: 'ada' })).status).toBe(403);
    expect((await ask('GET', '/me', cookie)).status).toBe(200);
  });

  it('answers 503 with Retry-After while Redis is down, and keeps the cookie', async () => {
    const cookie = await login('ada');
    await server.kill();
    try {
      for (const path of ['/me', '/']) {
        const { status, headers } = await ask('GET', path, cookie);
        expect([status, headers.get('retry-after'), headers.getSetCookie()]).toEqual([503, '1', []]);
      }
      expect((await ask('GET', '/')).status).toBe(200);
      expect((await ask('GET', '/me')).status).toBe(401);
    } finally {
      await server.restart();
    }
  });
});

it("the guard of examples/nestjs judges by what the handler says, and then by its controller's word", async () => {
  const example = runExample('../test/support/programs/nest-guard.mts', {});
  const [printed] = await example.printed(/\{.*\}/);
  expect(JSON.parse(printed)).toEqual({
    'nothing, nothing': 401,
    'nothing, public': true,
    'nothing, recent login': 401,
    'public, nothing': true,
    'public, public': true,
    'public, recent login': 401,
    'recent login, nothing': 401,
    'recent login, public': true,
    'recent login, recent login': 401,
  });
});

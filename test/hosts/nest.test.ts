import { killExamples, runExample } from '../support/example-process';
import { sendRaw } from '../support/raw-request';
import { type RedisServer, startRedis } from '../support/redis-server';

const HOST = 'Host: shop.example.com';

let server: RedisServer;
/** Applications with Nest's exception filter, with their own filter, and with `onUnavailable: 'anonymous'`. */
let urls: string[];

beforeAll(async () => {
  server = await startRedis();
  const program = runExample('../test/support/programs/nest.mts', { REDIS_URL: server.url });
  urls = JSON.parse((await program.printed(/listening: (.*)\n/))[1] as string);
});
afterAll(async () => {
  await killExamples();
  if (server.isUp) await server.stop();
});

const send = (app: number, method: string, path: string, ...headers: string[]) =>
  sendRaw(urls[app] as string, method, path, [HOST, ...headers]);

/** The cookie of a login. */
async function login(app: number, user: string): Promise<string> {
  const { status, setCookie } = await send(app, 'POST', `/login?user=${user}`);
  expect(status).toBe(201);
  return setCookie[0]?.split(';')[0] as string;
}

describe.each([
  ["Nest's own exception filter", 0],
  ['an exception filter of the application', 1],
])('NestJS with %s', (_, app) => {
  it('signs in and out', async () => {
    const cookie = `Cookie: ${await login(app, 'ada')}`;
    for (const path of ['/me', '/vault']) {
      const { text } = await send(app, 'GET', path, cookie);
      expect(JSON.parse(text)).toEqual({ id: 'ada', detail: { name: 'ada' } });
    }
    expect((await send(app, 'POST', '/logout', cookie)).status).toBe(201);
    expect((await send(app, 'GET', '/me', cookie)).status).toBe(401);
  });

  it('answers 401 with a challenge to an anonymous request, and to a login of an unknown user', async () => {
    for (const [method, path] of [
      ['GET', '/me'],
      ['GET', '/vault'],
      ['POST', '/login?user=nobody'],
    ] as const) {
      const { status, headers } = await send(app, method, path);
      expect(status).toBe(401);
      expect(headers).toContainEqual(['www-authenticate', 'Bearer']);
    }
  });

  it('answers 403 to a page of another origin, and 409 to a logout with cookies of two users', async () => {
    const [ada, eve] = [await login(app, 'ada'), await login(app, 'eve')];
    const refused = await send(app, 'POST', '/logout', `Cookie: ${ada}`, 'Sec-Fetch-Site: cross-site');
    expect(refused).toMatchObject({ status: 403, setCookie: [] });
    const conflict = await send(app, 'POST', '/logout', `Cookie: ${ada}; ${eve}`);
    expect(conflict.status).toBe(409);
    expect(conflict.setCookie.at(-1)).toMatch(/^session=; Max-Age=0;/);
    expect((await send(app, 'GET', '/me', `Cookie: ${ada}; ${eve}`)).status).toBe(401);
    expect((await send(app, 'GET', '/me', `Cookie: ${ada}`)).status).toBe(200);
  });
});

it('NestJS answers 503 with Retry-After to every request that needs the store, and to no other', async () => {
  const cookie = `Cookie: ${await login(0, 'ada')}`;
  await server.stop();
  for (const app of urls.keys()) {
    for (const [method, path, ...headers] of [
      ['GET', '/me', cookie],
      ['GET', '/vault', cookie],
      ['POST', '/logout', cookie],
      ['POST', '/login?user=ada'],
    ] as const) {
      const response = await send(app, method, path, ...headers);
      expect(response).toMatchObject({ status: 503, setCookie: [] });
      expect(response.headers).toContainEqual(['retry-after', '1']);
    }
    expect((await send(app, 'GET', '/me')).status).toBe(401);
  }
});

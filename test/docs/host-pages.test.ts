import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MemoryStore, SessionError, type Store, TokenManager } from 'tokensession';
import { type FetchSession, sessionOpener } from 'tokensession/fetch';
import { blocks, pageText, ROOT, section } from '../support/doc-pages';
import { makeProgramFolder } from '../support/program-folder';
import { endProgram, OUR_SOURCES, TSX } from '../support/programs';
import { freePort } from '../support/redis-server';
import { SECRET } from '../support/stores';
import { until } from '../support/until';

let folder: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = await makeProgramFolder();
});
afterAll(async () => {
  for (const child of children) await endProgram(child);
  await rm(folder, { recursive: true, force: true });
});

/** The used parts of Next and React, with the request in a global. `npm run try:next` has the real ones. */
const NEXT_STAND_INS = {
  'next/headers.js': 'exports.headers = async () => asked.headers; exports.cookies = async () => asked.cookies;',
  'next/server.js': `
    const { parseSetCookie } = require('cookie');
    exports.NextResponse = class extends Response {
      get cookies() {
        // Like Next's own, it drops what is empty or 0.
        const read = (line) => Object.fromEntries(Object.entries(parseSetCookie(line)).filter(([, value]) => value));
        return { getAll: () => this.headers.getSetCookie().map(read) };
      }
    };`,
  'react/index.js': 'exports.cache = (read) => read;',
};

/** The used part of React Router. Its own types need React's. */
interface ReactRouter {
  RouterContextProvider: new () => object;
  createStaticHandler(routes: object[]): {
    query(
      request: Request,
      options: {
        requestContext: object;
        generateMiddlewareResponse(
          query: (request: Request) => Promise<Response | { statusCode: number; loaderData: { account?: unknown } }>,
        ): Promise<Response>;
      },
    ): Promise<Response>;
  };
}

interface NextRecipe {
  withSession(
    handler: (session: FetchSession, request: Request) => Promise<Response>,
  ): (request: Request) => Promise<Response>;
  act<Result>(verb: (session: FetchSession) => Promise<Result>): Promise<Result>;
  readSession(): Promise<FetchSession>;
}

/** Serves the export of a page on Request and Response. */
const SERVED = `
import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import page from './fetch.ts';
createServer(getRequestListener(page.fetch)).listen(process.env.PORT);
`;

async function start(page: string): Promise<string> {
  await writeFile(join(folder, `${page}.ts`), blocks('ts', pageText(`docs/${page}.md`))[0] as string);
  if (page === 'fetch') await writeFile(join(folder, 'served.ts'), SERVED);
  const port = await freePort();
  const child = spawn(process.execPath, [...TSX, page === 'fetch' ? 'served.ts' : `${page}.ts`], {
    cwd: folder,
    env: { ...process.env, ...OUR_SOURCES, SESSION_SECRET: SECRET, PORT: String(port) },
    stdio: 'inherit',
  });
  children.push(child);
  // A name may have several addresses; a program may listen on one of them only.
  const urls = [`http://127.0.0.1:${port}`, `http://[::1]:${port}`];
  return until(`${page} listens`, () => Promise.any(urls.map((url) => fetch(url).then(() => url))));
}

/** A signed token of a session that the program does not have. */
async function tokenOf(userId: string): Promise<string> {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  const token = await manager.setToken(userId);
  await manager.close();
  return token;
}

describe.each(['express', 'koa', 'node', 'fetch', 'hono', 'fastify'])('docs/%s.md', (page) => {
  it('begins with a program that signs in, signs out, and refuses as documented', async () => {
    const url = await start(page);
    const send = (method: string, path: string, headers: Record<string, string> = {}) =>
      fetch(url + path, { method, headers });

    const refused = await send('GET', '/me');
    expect(refused.status).toBe(401);
    expect(refused.headers.get('www-authenticate')).toBe('Bearer');
    expect(await refused.json()).toEqual({ error: 'unauthenticated' });
    expect((await send('DELETE', '/account')).status).toBe(401);

    const login = await send('POST', '/login');
    expect([login.status, login.headers.get('cache-control')]).toEqual([200, 'no-store']);
    expect(await login.text()).toContain('Ada Lovelace');
    const [line = ''] = login.headers.getSetCookie();
    expect(line).toMatch(/^session=.*HttpOnly/);
    const cookie = line.split(';')[0] as string;

    const me = await send('GET', '/me', { cookie });
    expect([me.status, await me.text()]).toEqual([200, expect.stringContaining('Ada Lovelace')]);
    expect((await send('DELETE', '/account', { cookie })).status).toBe(200);
    expect((await send('POST', '/logout', { cookie, 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    const logout = await send('POST', '/logout', { cookie });
    expect([logout.ok, logout.headers.get('set-cookie')]).toEqual([
      true,
      expect.stringMatching(/^session=; Max-Age=0/),
    ]);
    expect((await send('GET', '/me', { cookie })).status).toBe(401);
    expect((await send('GET', '/nowhere')).status).toBe(404);

    const conflicting = { cookie: `session=${await tokenOf('ada')}; session=${await tokenOf('grace')}` };
    const conflict = await send('POST', '/logout', conflicting);
    expect([conflict.status, conflict.headers.get('set-cookie')]).toEqual([
      409,
      expect.stringMatching(/^session=; Max-Age=0/),
    ]);
  });
});

describe('a recipe based on Request and Response', () => {
  let manager: TokenManager;
  let fail: boolean;

  beforeEach(() => {
    fail = false;
    const store = new Proxy<Store>(new MemoryStore(), {
      get(target, name) {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== 'function') return member;
        return fail && name !== 'close'
          ? () => Promise.reject(new SessionError('ERR_STORE_UNAVAILABLE', 'down'))
          : member.bind(target);
      },
    });
    manager = new TokenManager({ store, secret: SECRET });
    Object.assign(globalThis, { sessions: manager });
  });
  afterEach(async () => {
    fail = false;
    await manager.close();
    delete (globalThis as { sessions?: unknown }).sessions;
  });

  /** The exports of the recipe under this heading. */
  async function recipe<Exports>(heading: string, app = '.'): Promise<Exports> {
    const file = join(folder, app, `${heading.replace(/\W/g, '')}.ts`);
    await writeFile(file, blocks('ts', section('docs/fetch.md', heading))[0] as string);
    return require(file) as Exports;
  }

  const ask = async (path: string, method = 'GET', more: Record<string, string> = {}) =>
    new Request(`https://shop.example.com${path}`, {
      method,
      headers: { cookie: `__Host-session=${await manager.setToken('ada')}`, ...more },
    });
  const withoutCookie = (path: string, accept = '*/*') =>
    new Request(`https://shop.example.com${path}`, { headers: { accept } });

  it('for Next.js signs in by a route handler or server function, and reads in a server component', async () => {
    const [program = ''] = blocks('ts', section('docs/fetch.md', 'Next.js'));
    expect(program).toBe(await readFile(join(ROOT, 'examples/next/lib/session.ts'), 'utf8'));
    const jar: { name: string; value: string }[] = [];
    const asked = { headers: new Headers(), cookies: { set: (cookie: never) => jar.push(cookie), toString: () => '' } };
    Object.assign(globalThis, { asked, openSession: sessionOpener(manager, { cookie: { secure: true } }) });
    const app = join(folder, 'next-app');
    for (const [file, text] of Object.entries(NEXT_STAND_INS)) {
      await mkdir(join(app, 'node_modules', file, '..'), { recursive: true });
      await writeFile(join(app, 'node_modules', file), text);
    }
    await writeFile(join(app, 'session.ts'), program);
    const { act, readSession, withSession } = require(join(app, 'session.ts')) as NextRecipe;

    const POST = withSession(async (session) => {
      await session.login('ada');
      return Response.json(session.user);
    });
    const login = await POST(new Request('http://localhost:3000/api/login', { method: 'POST' }));
    const [line = ''] = login.headers.getSetCookie();
    expect([login.status, line]).toEqual([200, expect.stringMatching(/^__Host-session=.*; Secure/)]);
    const cookie = line.split(';')[0] as string;
    asked.cookies.toString = () => cookie;
    const component = await readSession();
    expect(component.user).toEqual({ id: 'ada' });
    await expect(component.login('grace')).rejects.toMatchObject({ code: 'ERR_HEADERS_SENT' });
    expect((await POST(await ask('/api/login', 'POST', { 'sec-fetch-site': 'cross-site' }))).status).toBe(403);

    const thrown = new Error('NEXT_REDIRECT');
    const redirected = withSession(async (session) => {
      await session.login('grace');
      throw thrown;
    });
    await expect(redirected(new Request('http://localhost:3000/', { method: 'POST' }))).rejects.toBe(thrown);
    expect(jar.splice(0)).toMatchObject([{ name: '__Host-session', value: expect.stringMatching(/^\S+$/) }]);
    asked.headers.set('cookie', cookie);
    await act((session) => session.logout());
    expect(jar.splice(0)).toMatchObject([{ name: '__Host-session', value: '', expires: new Date(0) }]);
    expect((await readSession()).user).toBeNull();

    const logout = withSession(async (session) => {
      await session.logout();
      return new Response(null, { status: 204 });
    });
    const cookies = await Promise.all(['ada', 'grace'].map((id) => manager.setToken(id)));
    const conflicting = { cookie: cookies.map((token) => `__Host-session=${token}`).join('; ') };
    const conflict = await logout(new Request('https://shop.example.com/', { method: 'POST', headers: conflicting }));
    expect([conflict.status, conflict.headers.getSetCookie()[0]]).toEqual([
      409,
      expect.stringMatching(/^__Host-session=; Max-Age=0/),
    ]);
    fail = true;
    const request = new Request('https://shop.example.com/', { method: 'POST', headers: asked.headers });
    const down = await POST(request);
    expect([down.status, down.headers.get('retry-after')]).toEqual([503, '1']);
    await expect(act(async () => {})).rejects.toMatchObject({ status: 503 });
    await expect(readSession()).rejects.toMatchObject({ status: 503 });
  });

  it('for SvelteKit puts the session into locals, and commits what is resolved', async () => {
    interface Event {
      request: Request;
      locals: { session?: FetchSession };
      getClientAddress(): string;
    }
    // `building` of SvelteKit, in a global.
    const environment = join(folder, 'kit-app/node_modules/$app/environment.js');
    await mkdir(join(environment, '..'), { recursive: true });
    await writeFile(environment, "Object.defineProperty(exports, 'building', { get: () => globalThis.building });");
    const { handle } = await recipe<{
      handle(input: { event: Event; resolve(event: Event): Promise<Response> }): Promise<Response>;
    }>('SvelteKit', 'kit-app');
    const run = (request: Request, resolve: (event: Event) => Promise<Response>) =>
      handle({ event: { request, locals: {}, getClientAddress: () => '192.0.2.7' }, resolve });
    const seen = await run(await ask('/'), async ({ locals }) => Response.json(locals.session?.user));
    expect(await seen.json()).toEqual({ id: 'ada' });
    const login = await run(withoutCookie('/'), async ({ locals }) => {
      await locals.session?.login('grace');
      return Response.redirect('https://shop.example.com/', 303);
    });
    expect([login.status, login.headers.get('location')]).toEqual([303, 'https://shop.example.com/']);
    expect(login.headers.getSetCookie()).toHaveLength(1);
    expect((await manager.listUserSessions('grace'))[0]?.attributes).toMatchObject({ ip: '192.0.2.7' });
    const request = await ask('/');
    fail = true;
    expect((await run(request, async () => new Response('in'))).status).toBe(503);

    Object.assign(globalThis, { building: true });
    const getClientAddress = () => {
      throw new Error('Cannot read clientAddress during prerendering');
    };
    const event = { request: new Request('http://sveltekit-prerender/about'), locals: {}, getClientAddress };
    const page = await handle({ event, resolve: async ({ locals }) => Response.json(locals) });
    expect(await page.json()).toEqual({});
  });

  it('for React Router gives loaders the session, and sends anonymous users to the login page', async () => {
    const { createStaticHandler, RouterContextProvider } = require('react-router') as ReactRouter;
    const recipes = await recipe<{ middleware: unknown; loader: unknown; sessionContext: unknown }>('React Router');
    const { middleware, loader, sessionContext } = recipes;
    const action = async ({ context }: { context: { get(key: unknown): FetchSession } }) => {
      await context.get(sessionContext).login('grace');
      return Response.redirect('https://shop.example.com/', 303);
    };
    const children = [
      { id: 'account', path: 'account', loader, Component: () => null },
      { id: 'login', path: 'login', action, Component: () => null },
    ];
    const handler = createStaticHandler([{ id: 'root', path: '/', middleware, children }]);
    const run = (request: Request) =>
      handler.query(request, {
        requestContext: new RouterContextProvider(),
        generateMiddlewareResponse: async (query) => {
          const found = await query(request);
          if (found instanceof Response) return found;
          // Where a page would be rendered, or its ErrorBoundary.
          return Response.json(found.loaderData.account ?? null, { status: found.statusCode });
        },
      });
    expect(await (await run(await ask('/account'))).json()).toEqual({ name: 'ada' });
    const redirect = await run(withoutCookie('/account?a=b', 'text/html'));
    expect([redirect.status, redirect.headers.get('location')]).toEqual([303, '/login?returnTo=%2Faccount%3Fa%3Db']);
    expect((await run(withoutCookie('/account'))).status).toBe(401);
    const login = await run(new Request('https://shop.example.com/login', { method: 'POST' }));
    expect([login.status, login.headers.getSetCookie()]).toEqual([303, [expect.stringMatching(/^__Host-session=/)]]);
    const crossSite = await run(await ask('/login', 'POST', { 'sec-fetch-site': 'cross-site' }));
    expect([crossSite.status, crossSite.headers.getSetCookie()]).toEqual([403, []]);
    const request = await ask('/account');
    fail = true;
    expect((await run(request)).status).toBe(503);
  });

  it('for tRPC throws from a procedure, and commits the response', async () => {
    interface Context {
      session: FetchSession;
    }
    const { handler, signedIn, metaOf, dataOf } = await recipe<{
      handler(request: Request, serve: (request: Request, context: Context) => Promise<Response>): Promise<Response>;
      signedIn(context: Context): { id: string };
      metaOf(cause: unknown): { status?: number; headers?: Record<string, string> };
      dataOf(cause: unknown): object;
    }>('tRPC');
    // As tRPC 11: a batch whose results have different statuses is a 207, unless metaOf says otherwise.
    const whoAmI = async (_request: Request, context: Context) => answer([() => signedIn(context)]);
    const answer = (procedures: (() => unknown)[]) => {
      const errors: unknown[] = [];
      const results = procedures.map((procedure) => {
        try {
          return { status: 200, result: procedure() };
        } catch (cause) {
          errors.push(cause);
          const data = { code: 'INTERNAL_SERVER_ERROR', httpStatus: 500, ...dataOf(cause) };
          return { status: data.httpStatus, result: data };
        }
      });
      const [status = 200, ...others] = new Set(results.map((one) => one.status));
      const answers = results.map(({ result }) => result);
      const init = { status: others.length > 0 ? 207 : status, ...metaOf(errors[0]) };
      return Response.json(answers.length > 1 ? answers : answers[0], init);
    };
    expect(await (await handler(await ask('/trpc/me'), whoAmI)).json()).toEqual({ id: 'ada' });
    const refused = await handler(withoutCookie('/trpc/me'), whoAmI);
    expect([refused.status, await refused.json()]).toEqual([401, { code: 'ERR_UNAUTHENTICATED', httpStatus: 401 }]);
    expect(refused.headers.get('www-authenticate')).toBe('Bearer');
    const batch = async (_request: Request, context: Context) => answer([() => 'news', () => signedIn(context)]);
    const mixed = await handler(withoutCookie('/trpc/news,me?batch=1'), batch);
    expect([mixed.status, await mixed.json()]).toEqual([207, ['news', expect.objectContaining({ httpStatus: 401 })]]);
    expect([metaOf(new Error('a bug')), dataOf(undefined)]).toEqual([{}, {}]);
    const login = await handler(withoutCookie('/trpc/login'), async (_request, { session }) => {
      await session.login('grace');
      return Response.json({ result: { data: null } });
    });
    expect(login.headers.getSetCookie()).toHaveLength(1);
  });

  it('for GraphQL throws an error with a code from a resolver', async () => {
    const { resolvers, extensionsOf } = await recipe<{
      resolvers: { Query: { me(root: unknown, args: unknown, context: { session: FetchSession<unknown> }): unknown } };
      extensionsOf(error: unknown): unknown;
    }>('GraphQL');
    const open = sessionOpener(manager);
    const context = { session: await open(await ask('/graphql')) };
    expect(resolvers.Query.me(null, {}, context)).toEqual({ id: 'ada' });
    let thrown: unknown;
    try {
      resolvers.Query.me(null, {}, { session: await open(withoutCookie('/graphql')) });
    } catch (error) {
      thrown = error;
    }
    const http = { status: 401, headers: { 'WWW-Authenticate': 'Bearer', 'Cache-Control': 'no-store' } };
    expect(extensionsOf(thrown)).toEqual({ code: 'ERR_UNAUTHENTICATED', http });
    // As graphql-js wraps what a resolver throws.
    expect(extensionsOf(Object.assign(new Error(), { originalError: thrown }))).toEqual(extensionsOf(thrown));
    const others = [new Error('a bug'), Object.assign(new Error('a GraphQLError'), { originalError: undefined }), null];
    expect(others.map(extensionsOf)).toEqual([null, null, null]);
  });
});

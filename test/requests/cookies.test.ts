import * as cookieLibrary from 'cookie';
import cookieParser from 'cookie-parser';
import express from 'express';
import { MemoryStore, type TokenClaims, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import { importSecret, readClaims, signToken } from '../../src/token/token';
import {
  APPS,
  type AppOptions,
  type Detail,
  FRAMEWORKS,
  listen,
  type Routes,
  type Session,
  serve,
} from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { ALL_HOSTS } from '../support/hosts';
import type { Visit } from '../support/hosts/host';
import { sendRaw } from '../support/raw-request';
import { SECRET } from '../support/stores';

/** The cookies of a response by their scope, `domain path`, each with the start of its value. */
const placesOf = (setCookie: string[]) =>
  setCookie.map((text) => {
    const attribute = (name: string) => new RegExp(`; ${name}=([^;]*)`).exec(text)?.[1];
    const kind = text.includes('Max-Age=0;') ? 'deleted' : 'set';
    return `${kind} ${attribute('Domain') ?? 'host'} ${attribute('Path')}`;
  });

describe.each(APPS)('%s', (_, build, host) => {
  const onClose = closeAfterEach();

  async function start(options: AppOptions = {}) {
    const { manager, calls, url } = await serve(onClose, build, options);
    const tokensOf = async (user: string, count: number) => {
      const tokens = [];
      for (let i = 0; i < count; i++) tokens.push(await manager.setToken(user));
      calls.splice(0);
      return tokens as [string, ...string[]];
    };
    const send = async (cookies: string[], path = '/session', host = 'shop.example.com', more: string[] = []) => {
      calls.splice(0);
      const cookie = cookies.length === 0 ? [] : [`Cookie: ${cookies.join('; ')}`];
      const method = /^\/(?:session|me|vault)/.test(path) ? 'GET' : 'POST';
      const response = await sendRaw(url, method, path, [`Host: ${host}`, ...cookie, ...more]);
      const user = /"user":\{"id":"(\w+)"/.exec(response.text)?.[1] ?? null;
      return { ...response, user, calls: [...calls] };
    };
    return { manager, send, tokensOf };
  }

  describe('several cookies of one name', () => {
    it('with the same value count as one, in one call to the store', async () => {
      const { send, tokensOf } = await start();
      const [token] = await tokensOf('ada', 1);
      const cookies = [`session=${token}`, 'theme=dark', `session=${token}`];
      expect(await send(cookies)).toMatchObject({ user: 'ada', calls: ['touch'], setCookie: [] });
    });

    it('are distinguished by their signature, never by their order', async () => {
      const { send, tokensOf } = await start();
      const [token] = await tokensOf('ada', 1);
      const forged = `${token.slice(0, -4)}AAAA`;
      for (const planted of ['x', '', forged, `${token}x`, 'A'.repeat(89)]) {
        for (const cookies of [
          [`session=${planted}`, `session=${token}`],
          [`session=${token}`, `session=${planted}`],
          ['a=b', `session=${planted}`, 'c', `session=${token}`, `session=${planted}`],
        ]) {
          expect(await send(cookies)).toMatchObject({ user: 'ada', calls: ['touch'], setCookie: [] });
        }
      }
    });

    it('without a signed one sign in no user, call no store and are kept: another application set them', async () => {
      const { send } = await start();
      expect(await send(['session=x', 'session=y'])).toMatchObject({
        status: 200,
        user: null,
        calls: [],
        setCookie: [],
      });
    });

    it('signed for two users sign in no user, call no store and are kept, in any order', async () => {
      const { manager, send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const [mallory] = await tokensOf('mallory', 1);
      for (const tokens of [
        [ada, mallory],
        [mallory, ada],
        ['x', mallory, ada, ada],
      ]) {
        const response = await send(tokens.map((token) => `session=${token}`));
        expect(response).toMatchObject({ status: 200, user: null, calls: [], setCookie: [] });
      }
      expect(await manager.listUserToken('ada')).toEqual([ada]);
      const cookies = [`session=${ada}`, `session=${mallory}`];
      expect(await send(cookies, '/me')).toMatchObject({ status: 401, calls: [], setCookie: [] });
      expect(await send(cookies, '/vault')).toMatchObject({ status: 401, calls: [], setCookie: [] });
    });

    it('signed for one user are tried until one is live, in any order', async () => {
      const { manager, send, tokensOf } = await start();
      const tokens = await tokensOf('ada', 3);
      const live = tokens[0];
      for (const token of tokens) if (token !== live) await manager.deleteToken(token);
      const calls = [];
      for (const order of [tokens, [...tokens].reverse()]) {
        const response = await send(order.map((token) => `session=${token}`));
        expect(response).toMatchObject({ user: 'ada', setCookie: [] });
        calls.push(response.calls);
      }
      const [tried = []] = calls as string[][];
      expect(calls[1]).toEqual(tried);
      expect([1, 2, 3]).toContain(tried.length);
      expect(tried).toEqual(tried.map(() => 'touch'));
    });

    it('that are all live give the same session in any order, in one call', async () => {
      const { send, tokensOf } = await start();
      const tokens = await tokensOf('ada', 2);
      const answers = [];
      for (const order of [tokens, [...tokens].reverse()]) {
        const response = await send(order.map((token) => `session=${token}`));
        expect(response.calls).toEqual(['touch']);
        answers.push(JSON.parse(response.text).token);
      }
      expect(answers[0]).toBe(answers[1]);
    });

    it('of one session cause a look-up of its newest generation alone, in any order', async () => {
      const { manager, send, tokensOf } = await start();
      const [first] = await tokensOf('ada', 1);
      const second = (await manager.rotateToken(first)) as string;
      const third = (await manager.rotateToken(second)) as string;
      for (const order of [
        [first, second, third],
        [third, first, second],
      ]) {
        const response = await send(order.map((token) => `session=${token}`));
        expect(response).toMatchObject({ user: 'ada', calls: ['touch'], setCookie: [] });
        expect(JSON.parse(response.text).token).toBe(third);
      }
    });

    it('of one session and one moment cause a look-up of the latest proof alone, in any order', async () => {
      const { send, tokensOf } = await start();
      const [token] = await tokensOf('ada', 1);
      const claims = readClaims(token) as TokenClaims;
      const lesser = signToken({ ...claims, provedAt: claims.provedAt - 1000 }, importSecret(SECRET));
      for (const order of [
        [lesser, token],
        [token, lesser],
      ]) {
        const response = await send(order.map((one) => `session=${one}`));
        expect([response.calls, JSON.parse(response.text).token]).toEqual([['touch'], token]);
      }
    });

    it('that are all dead are kept: a newer login may have set one since', async () => {
      const { manager, send, tokensOf } = await start();
      const tokens = await tokensOf('ada', 2);
      await manager.deleteUserToken('ada');
      const response = await send(tokens.map((token) => `session=${token}`));
      expect(response).toMatchObject({ user: null, calls: ['touch', 'touch'], setCookie: [] });
    });

    it('of more than three sessions sign in no user and call no store', async () => {
      const { send, tokensOf } = await start();
      const tokens = await tokensOf('ada', 4);
      const cookies = tokens.map((token) => `session=${token}`);
      expect(await send(cookies)).toMatchObject({ user: null, calls: [], setCookie: [] });
      expect(await send(cookies, '/logout')).toMatchObject({ status: 409, calls: [] });
      expect(await send(cookies.slice(1))).toMatchObject({ user: 'ada', calls: ['touch'] });
    });

    it('in two Cookie headers work like those in one', async () => {
      const { send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const [mallory] = await tokensOf('mallory', 1);
      const twice = (first: string, second: string) =>
        send([`session=${first}`], '/session', 'shop.example.com', [`Cookie: session=${second}`]);
      expect(await twice(ada, mallory)).toMatchObject({ user: null, calls: [] });
      expect(await twice('x', ada)).toMatchObject({ user: 'ada', calls: ['touch'] });
    });

    it('are not found in names or values that merely contain the name', async () => {
      const { send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const [mallory] = await tokensOf('mallory', 1);
      const others = [
        `my-session=${mallory}`,
        `sessions=${mallory}`,
        `x=session=${mallory}`,
        `Session=${mallory}`,
        'session',
      ];
      for (const cookies of [
        [...others, `session=${ada}`],
        [`session=${ada}`, ...others],
        [...others, ` session = ${ada} `],
      ]) {
        expect(await send(cookies)).toMatchObject({ user: 'ada', calls: ['touch'], setCookie: [] });
      }
    });

    it('are ignored beside a token in the header', async () => {
      const { send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const [grace] = await tokensOf('grace', 1);
      const [mallory] = await tokensOf('mallory', 1);
      const bearer = [`Authorization: Bearer ${grace}`];
      const response = await send([`session=${ada}`, `session=${mallory}`], '/session', 'shop.example.com', bearer);
      expect(response).toMatchObject({ user: 'grace', calls: ['touch'], setCookie: [] });
    });

    it('and their sessions survive a logout or a login with a token in the header', async () => {
      const { manager, send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const tokens = await tokensOf('grace', 2);
      for (const [index, path] of ['/logout', '/login?user=grace'].entries()) {
        const bearer = [`Authorization: Bearer ${tokens[index]}`];
        expect((await send([`session=${ada}`], path, 'shop.example.com', bearer)).status).toBe(200);
        expect(await manager.checkToken(tokens[index] as string)).toBeNull();
        expect(await manager.checkToken(ada)).not.toBeNull();
      }
    });

    it('are all deleted at a login, whose new cookie comes last; their sessions end', async () => {
      const { manager, send, tokensOf } = await start();
      const tokens = await tokensOf('ada', 2);
      const response = await send(
        tokens.map((token) => `session=${token}`),
        '/login?user=grace',
      );
      expect(await manager.listUserToken('ada')).toEqual([]);
      expect(await manager.listUserToken('grace')).toHaveLength(1);
      const places = placesOf(response.setCookie);
      expect(places.at(-1)).toBe('set host /');
      expect(places.slice(0, -1).sort()).toEqual([
        'deleted example.com /',
        'deleted example.com /login',
        'deleted host /login',
        'deleted shop.example.com /',
        'deleted shop.example.com /login',
      ]);
    });

    it.each(['live', 'dead'])('a %s one of another user is deleted at a login, wherever it was set', async (state) => {
      const { manager, send, tokensOf } = await start();
      const [mallory] = await tokensOf('mallory', 1);
      if (state === 'dead') await manager.deleteToken(mallory);
      const response = await send([`session=${mallory}`], '/login?user=ada');
      // Beside the new cookie, one that stayed would sign no user in.
      expect(placesOf(response.setCookie)).toContain('deleted example.com /');
      expect(placesOf(response.setCookie).at(-1)).toBe('set host /');
    });

    it.each(['of the same user', 'unsigned'])('one %s costs a login no guessed deletions', async (kind) => {
      const { send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const response = await send([`session=${kind === 'unsigned' ? 'x' : ada}`], '/login?user=ada');
      expect(placesOf(response.setCookie)).toEqual(['set host /']);
    });

    it('of several users are deleted at a login, and their sessions go on', async () => {
      const { manager, send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const [mallory] = await tokensOf('mallory', 1);
      const response = await send([`session=${ada}`, `session=${mallory}`], '/login?user=grace');
      expect(response).toMatchObject({ status: 200, user: 'grace', calls: ['create'] });
      expect(placesOf(response.setCookie)).toContain('deleted example.com /');
      expect(placesOf(response.setCookie).at(-1)).toBe('set host /');
      expect(await manager.checkToken(ada)).not.toBeNull();
      expect(await manager.checkToken(mallory)).not.toBeNull();
    });

    it('are deleted at a logout, and their sessions end', async () => {
      const { manager, send, tokensOf } = await start();
      const tokens = await tokensOf('ada', 2);
      const response = await send(
        tokens.map((token) => `session=${token}`),
        '/logout',
      );
      expect(response.status).toBe(200);
      expect(await manager.listUserToken('ada')).toEqual([]);
      expect(placesOf(response.setCookie)).toContain('deleted example.com /');
      expect(placesOf(response.setCookie)).toContain('deleted host /');
    });

    it.each(['/logout', '/logout?everywhere'])('of several users fail %s, which deletes them all', async (path) => {
      const { manager, send, tokensOf } = await start();
      const [ada] = await tokensOf('ada', 1);
      const [mallory] = await tokensOf('mallory', 1);
      const response = await send([`session=${ada}`, `session=${mallory}`], path);
      expect(response).toMatchObject({ status: 409, calls: [] });
      expect(placesOf(response.setCookie).sort()).toEqual([
        'deleted example.com /',
        'deleted example.com /logout',
        'deleted host /',
        'deleted host /logout',
        'deleted shop.example.com /',
        'deleted shop.example.com /logout',
      ]);
      expect(await manager.listUserToken('ada')).toEqual([ada]);
      expect(await manager.listUserToken('mallory')).toEqual([mallory]);
    });
  });

  describe('a logout that deletes leftover cookies', () => {
    async function clear(options: AppOptions, path: string, host: string, more: string[] = []) {
      const [pathname = ''] = path.split('?');
      const routes = { [pathname]: (session: Session) => session.logout().then(() => 'done') };
      const { send, tokensOf } = await start({ ...options, routes });
      const tokens = await tokensOf('ada', 2);
      const name = typeof options.cookie === 'object' ? (options.cookie.name ?? 'session') : 'session';
      const cookies = tokens.map((token) => `${name}=${token}`);
      const response = await send(cookies, path, host, more);
      expect(response.status).toBe(200);
      return response.setCookie;
    }

    it('covers the host, its parent domains, the path and its parent directories', async () => {
      expect(placesOf(await clear({}, '/session/cart/items?x=/y', 'a.shop.example.com:8443')).sort()).toEqual(
        ['host', 'a.shop.example.com', 'shop.example.com', 'example.com']
          .flatMap((domain) =>
            ['/', '/session', '/session/', '/session/cart', '/session/cart/', '/session/cart/items'].map(
              (path) => `deleted ${domain} ${path}`,
            ),
          )
          .sort(),
      );
    });

    it('uses the host that a trusted proxy forwards', async () => {
      const forwarded = ['X-Forwarded-Host: shop.example.org'];
      const trusted = placesOf(await clear({ trustProxy: true }, '/session', 'internal', forwarded));
      expect(trusted).toContain('deleted example.org /session');
      expect(placesOf(await clear({}, '/session', 'internal', forwarded)).join()).not.toContain('example.org');
    });

    it.each<[string, string]>([
      ['an IPv4 address', '192.168.0.10:3000'],
      ['an IPv6 address', '[2001:db8::1]:3000'],
      ['a name of one label', 'localhost:3000'],
      ['a name with a dot behind it', 'shop.example.com.'],
      ['a name with an empty label', 'shop..example.com'],
      ...(host.takesAnyHost
        ? ([
            ['no name at all', 'a;b.example.com'],
            ['nothing', ''],
          ] satisfies [string, string][])
        : []),
    ])('sends no Domain for %s', async (_case, host) => {
      const setCookie = await clear({}, '/session', host);
      expect(placesOf(setCookie).sort()).toEqual(['deleted host /', 'deleted host /session']);
    });

    it('deletes a __Host- cookie in both variants, with and without Partitioned, and in no other place', async () => {
      for (const partitioned of [false, true]) {
        const cookie = { name: '__Host-id', partitioned };
        const setCookie = await clear({ cookie }, '/session/cart', 'shop.example.com');
        expect(placesOf(setCookie)).toEqual(['deleted host /', 'deleted host /']);
        expect(setCookie.map((text) => text.includes('Partitioned'))).toEqual([!partitioned, partitioned]);
      }
    });

    it('of a __Host- cookie lets a browser log in again after `partitioned` was changed', async () => {
      const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
      const [ann, bob] = [await manager.setToken('ann'), await manager.setToken('bob')];
      const app = await listen(build(manager, { trustProxy: true, cookie: { partitioned: true } }));
      const cookie = `__Host-session=${ann}; __Host-session=${bob}`;
      const headers = { cookie, 'x-forwarded-proto': 'https' };
      const response = await fetch(`${app.url}/logout`, { method: 'POST', headers });
      expect(response.status).toBe(409);
      await app.close();
      await manager.close();
      const cleared = response.headers.getSetCookie();
      expect(cleared).toEqual([
        expect.stringMatching(/^__Host-session=; Max-Age=0;/),
        expect.stringContaining('Partitioned'),
      ]);
      expect(cleared[0]).not.toContain('Partitioned');
    });

    it('covers the domain and path of the options, and repeats the attributes that browsers require', async () => {
      const cookie = { name: '__Secure-id', path: '/app', domain: 'example.com', sameSite: 'none' } as const;
      const setCookie = await clear({ cookie }, '/session', 'shop.example.com');
      expect(placesOf(setCookie).at(-1)).toBe('deleted example.com /app');
      expect(new Set(setCookie).size).toBe(setCookie.length);
      for (const text of setCookie) {
        expect(text).toMatch(/^__Secure-id=; Max-Age=0; /);
        expect(text).toContain('; Secure');
        expect(text).toContain('; SameSite=None');
      }
    });

    it('stays within the header size that proxies allow, for any host and path', async () => {
      const host = `${'a.'.repeat(120)}example.com`;
      for (const path of [`/session/${'x/'.repeat(500)}`, `/session/${'y'.repeat(4000)}/z`]) {
        const setCookie = await clear({}, path, host);
        expect(setCookie.join('').length).toBeLessThan(2500);
        expect(placesOf(setCookie)).toContain('deleted host /');
        expect(placesOf(setCookie)).toContain('deleted example.com /');
      }
    });

    it('leaves out a directory that Set-Cookie cannot express', async () => {
      const places = placesOf(await clear({}, '/session/a;Domain=evil.example/b', 'localhost'));
      expect(places.sort()).toEqual(['deleted host /', 'deleted host /session', 'deleted host /session/']);
    });
  });

  describe('a response that sets or deletes the cookie', () => {
    const cacheControl = ({ headers }: { headers: [string, string][] }) =>
      headers.find(([name]) => name === 'cache-control')?.[1];

    it('has Cache-Control: no-store, and no other response of a handler has', async () => {
      const { manager, send, tokensOf } = await start();
      const [token] = await tokensOf('ada', 1);
      expect(cacheControl(await send([`session=${token}`]))).toBeUndefined();
      expect(cacheControl(await send([]))).toBeUndefined();
      expect(cacheControl(await send([], '/logout'))).toBeUndefined();
      expect(cacheControl(await send([], '/login?user=ada'))).toBe('no-store');
      expect(cacheControl(await send([`session=${token}`], '/logout'))).toBe('no-store');
      const [dead] = await tokensOf('ada', 1);
      await manager.deleteToken(dead);
      expect(cacheControl(await send([`session=${dead}`]))).toBeUndefined();
    });

    it('has Cache-Control: no-store, even if its handler sets another value', async () => {
      const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
      const handle = async ({ session, setHeader }: Visit) => {
        await session.login('ada');
        setHeader('Cache-Control', 'public, max-age=60');
        setHeader('Set-Cookie', 'theme=dark');
      };
      const app = await listen(host.build({ mounts: [{ manager }], guardOf: () => undefined, handle }));
      const { headers } = await fetch(`${app.url}/hasty`);
      await app.close();
      await manager.close();
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.getSetCookie().map((cookie) => cookie.split('=')[0])).toEqual(['theme', 'session']);
    });

    it('lets no cache of a content delivery network store it, whose own header has precedence', async () => {
      const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
      const given: [string, string][] = [
        ['CDN-Cache-Control', 'max-age=60'],
        ['Cloudflare-CDN-Cache-Control', 'max-age=60, stale-while-revalidate=5'],
        ['Vercel-CDN-Cache-Control', 'private, No-Store'],
        ['Surrogate-Control', 'max-age=60, no-store-remote'],
      ];
      const handle = async ({ path, session, setHeader }: Visit) => {
        if (path === '/login') await session.login('ada');
        for (const [name, value] of given) setHeader(name, value);
      };
      const app = await listen(host.build({ mounts: [{ manager }], guardOf: () => undefined, handle }));
      const sent = async (path: string) => {
        const { headers } = await fetch(app.url + path);
        return [...given.map(([name]) => headers.get(name)), headers.get('netlify-cdn-cache-control')];
      };
      const [login, other] = [await sent('/login'), await sent('/news')];
      await app.close();
      await manager.close();
      expect(login).toEqual(['no-store', 'no-store', 'private, No-Store', 'no-store', null]);
      expect(other).toEqual([...given.map(([, value]) => value), null]);
    });

    it('has no such header when cookies are switched off', async () => {
      const { send } = await start({ cookie: false });
      expect(cacheControl(await send([], '/login?user=ada'))).toBeUndefined();
    });
  });

  describe('clearSiteData', () => {
    const clearSiteData = ({ headers }: { headers: [string, string][] }) =>
      headers.find(([name]) => name === 'clear-site-data')?.[1];

    it.each([
      [undefined, undefined],
      [false, undefined],
      [true, '"cache", "cookies", "storage"'],
      [['storage'], '"storage"'],
      [['clientHints', 'executionContexts', 'clientHints'], '"clientHints", "executionContexts"'],
      [['*'], '"*"'],
    ] as const)('%j makes a logout send %s', async (option, header) => {
      const { send, tokensOf } = await start({ clearSiteData: option });
      const [token] = await tokensOf('ada', 1);
      expect(clearSiteData(await send([`session=${token}`]))).toBeUndefined();
      expect(clearSiteData(await send([`session=${token}`], '/logout'))).toBe(header);
    });

    it('is sent for users signed in by cookie or header, not for an anonymous logout', async () => {
      const { send, tokensOf } = await start({ clearSiteData: true });
      const [token] = await tokensOf('ada', 1);
      expect(clearSiteData(await send([], '/logout'))).toBeUndefined();
      expect(clearSiteData(await send(['session=x'], '/logout'))).toBeUndefined();
      const bearer = [`Authorization: Bearer ${token}`];
      expect(clearSiteData(await send([], '/logout', 'shop.example.com', bearer))).toBe(
        '"cache", "cookies", "storage"',
      );
    });

    it('keeps the cookie of a login that follows the logout in the same request', async () => {
      const routes = {
        '/switch': async (session: Session) => {
          await session.logout();
          await session.login('grace');
        },
      };
      const { send, tokensOf } = await start({ clearSiteData: true, routes });
      const [token] = await tokensOf('ada', 1);
      const response = await send([`session=${token}`], '/switch');
      expect(placesOf(response.setCookie).filter((place) => place.endsWith(' host /'))).toEqual(['set host /']);
      expect(clearSiteData(response)).toBeUndefined();
    });

    it('does not fail a logout that comes after the headers were sent', async () => {
      let outcome: unknown;
      const routes: Routes = {
        '/late': async (session, _query, res) => {
          res.write('begun');
          outcome = await session.logout().then(() => 'done', String);
          res.end();
        },
      };
      const { manager, send, tokensOf } = await start({ clearSiteData: true, routes });
      const [token] = await tokensOf('ada', 1);
      await send([`session=${token}`], '/late');
      expect(outcome).toBe('done');
      expect(await manager.checkToken(token)).toBeNull();
    });
  });
});

it('a mounted router does not hide directories from the deletion of leftover cookies', async () => {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  const app = express();
  app.use('/shop', forExpress.sessionMiddleware(manager), (req, res, next) => {
    req.session.logout().then(() => res.end(), next);
  });
  const running = await listen(app);
  const cookie = `Cookie: session=${await manager.setToken('ada')}; session=${await manager.setToken('ada')}`;
  const { setCookie } = await sendRaw(running.url, 'GET', '/shop/cart', ['Host: localhost', cookie]);
  await running.close();
  await manager.close();
  expect(placesOf(setCookie)).toContain('deleted host /shop/cart');
});

describe('the options of the cookie', () => {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  afterAll(() => manager.close());

  it.each([
    ['a name with a separator', { name: 'a;b' }, 'option cookie.name must be letters, digits and'],
    ['a name with brackets', { name: 'sid[]' }, 'option cookie.name must be letters, digits and'],
    ['a name with =', { name: 'a=b' }, 'got "a=b"'],
    ['a name outside of ASCII', { name: 'séance' }, 'option cookie.name must be'],
    ['a path with a query', { path: '/app?x' }, 'option cookie.path must be at most 1024 printable ASCII characters'],
    ['a path with a line break', { path: '/a\r\nX: y' }, 'option cookie.path must be'],
    ['a path outside of ASCII', { path: '/café' }, 'option cookie.path must be'],
    ['a path that browsers ignore for its length', { path: `/${'a'.repeat(1024)}` }, 'option cookie.path must be'],
    [
      'a domain with a dot before it',
      { domain: '.example.com' },
      'option cookie.domain must not begin or end with a dot',
    ],
    [
      'a domain with a dot behind it',
      { domain: 'example.com.' },
      'option cookie.domain must not begin or end with a dot',
    ],
    ['a domain with a port', { domain: 'example.com:8443' }, 'option cookie.domain must be a host name without scheme'],
    ['a domain with a scheme', { domain: 'https://example.com' }, 'got "https://example.com"'],
    ['a domain with a path', { domain: 'example.com/app' }, 'option cookie.domain must be a host name'],
    ['a domain with a wildcard', { domain: '*.example.com' }, 'option cookie.domain must be a host name'],
    ['a domain with an empty label', { domain: 'a..example.com' }, 'option cookie.domain must be a host name'],
    ['a domain not in punycode', { domain: 'münchen.example' }, 'option cookie.domain must be a host name'],
    [
      'a domain of 254 characters',
      { domain: `${'a.'.repeat(121)}example.comx` },
      'option cookie.domain must be a host name',
    ],
    ['a domain that is an IPv4 address', { domain: '127.0.0.1' }, 'option cookie.domain must not be an IP address'],
    ['a domain that is an IPv6 address', { domain: '::1' }, 'option cookie.domain must not be an IP address'],
    [
      '__Http- without Secure',
      { name: '__Http-s', secure: false },
      'option cookie.secure must not be false with the name "__Http-s"',
    ],
    [
      '__host-http- without Secure',
      { name: '__host-http-s', secure: false },
      'must not be false with the name "__host-http-s"',
    ],
    ['__Host-Http- with a domain', { name: '__Host-Http-s', domain: 'x.com' }, 'a __Host- cookie has none'],
    ['__Host-Http- with a path', { name: '__Host-Http-s', path: '/app' }, "a __Host- cookie's is /"],
  ])('are refused with %s, on every host', (_, cookie, message) => {
    for (const [, { direct }] of ALL_HOSTS) {
      const build = () => direct(manager, { cookie });
      expect(build).toThrow(TypeError);
      expect(build).toThrow(message);
    }
  });

  it.each([
    [
      { clearSiteData: 'cache' },
      'option clearSiteData must be true, false or an array of kinds, got a value of type string',
    ],
    [{ clearSiteData: [] }, 'option clearSiteData must name at least one kind'],
    [{ clearSiteData: ['cache', 'cookie'] }, 'option clearSiteData[1] must be one of cache, cookies, storage'],
    [{ clearSiteData: [1] }, 'got a value of type number'],
    [{ clearSiteData: ['toString'] }, 'got "toString"'],
  ])('are checked along with those of the middleware: %j is refused', (options, message) => {
    for (const [, { direct }] of ALL_HOSTS) {
      const build = () => direct(manager, options as never);
      expect(build).toThrow(TypeError);
      expect(build).toThrow(message);
    }
  });

  it.each(['__Http-s', '__HOST-HTTP-s', '__secure-s', '__Host-s'])(
    'with the name %s make it Secure and HttpOnly on any request',
    async (name) => {
      const app = await listen(FRAMEWORKS['Express 5'](manager as TokenManager<Detail>, { cookie: { name } }));
      const { setCookie } = await sendRaw(app.url, 'POST', '/login?user=ada', ['Host: x']);
      await app.close();
      expect(setCookie).toHaveLength(1);
      expect(setCookie[0]).toMatch(new RegExp(`^${name}=.*; Path=/; HttpOnly; Secure; SameSite=Lax$`));
    },
  );

  it.each([
    { domain: 'localhost' },
    { domain: 'Example.COM' },
    { domain: 'xn--mnchen-3ya.example', path: '/app/' },
    { name: "!#$%&'*+-.^_`|~09azAZ" },
  ])('are accepted: %j', (cookie) => {
    for (const [, { direct }] of ALL_HOSTS) expect(() => direct(manager, { cookie })).not.toThrow();
  });
});

describe('cookies of other middleware', () => {
  const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
  const parse = jest.spyOn(cookieLibrary, 'parseCookie');
  beforeEach(() => parse.mockClear());
  afterAll(async () => {
    parse.mockRestore();
    await manager.close();
  });

  async function ask(cookie: string, parser?: express.RequestHandler): Promise<unknown> {
    const app = express();
    if (parser !== undefined) app.use(parser);
    app.use(forExpress.sessionMiddleware(manager));
    app.get('/', (req, res) => void res.json(req.session.user));
    const { url, close } = await listen(app);
    const response = await fetch(url, { headers: { cookie } });
    await close();
    return response.json();
  }

  it('are not parsed: only the session cookie is, at any position', async () => {
    const token = await manager.setToken('ada');
    for (const cookie of [
      `theme=dark; session=${token}`,
      `session=${token};theme=dark`,
      `a=b; session=${token}; theme=dark`,
      `session=${token}`,
    ]) {
      parse.mockClear();
      expect(await ask(cookie, cookieParser('any secret'))).toEqual({ id: 'ada' });
      expect(parse.mock.calls.map(([text]) => text.trim())).toEqual([`session=${token}`]);
    }
    for (const cookie of [`theme=session; other=${token}`, `xsession=${token}`, `theme=a=session=${token}; b=c`]) {
      expect(await ask(cookie)).toBeNull();
    }
  });

  it('do not hide a second session cookie that a parser drops', async () => {
    const [ada, bob] = [await manager.setToken('ada'), await manager.setToken('bob')];
    expect(await ask(`session=x; session=${ada}`, cookieParser())).toEqual({ id: 'ada' });
    expect(await ask(`session=${ada}; session=${bob}`, cookieParser())).toBeNull();
  });

  it.each([null, 'session', {}, { session: 1 }, Object.create({ session: 'inherited' })])(
    'do not change what is read from the header, whatever is in req.cookies: %j',
    async (cookies) => {
      const token = await manager.setToken('ada');
      const set: express.RequestHandler = (req, _res, next) => {
        req.cookies = cookies;
        next();
      };
      expect(await ask(`session=${token}`, set)).toEqual({ id: 'ada' });
    },
  );
});

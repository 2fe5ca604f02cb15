import express, { type ErrorRequestHandler } from 'express';
import Koa from 'koa';
import { MemoryStore, SessionError, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forKoa from 'tokensession/koa';
import { APPS, type AppOptions, type Detail, listen, serve } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { ALL_HOSTS } from '../support/hosts';
import { sendRaw } from '../support/raw-request';
import { SECRET } from '../support/stores';

const methodOverride = require('method-override');
const koaOverride = require('koa-override').default;

const HOST = 'Host: shop.example.com';

describe.each(APPS)('%s', (_, build, host) => {
  const onClose = closeAfterEach();

  async function start(options: AppOptions = {}) {
    const { manager, calls, url } = await serve(onClose, build, options);
    const token = await manager.setToken('ada');
    calls.splice(0);
    const cookie = `Cookie: session=${token}`;
    const send = (method: string, headers: string[], path = '/session') => sendRaw(url, method, path, headers);
    return { manager, send, token, cookie, calls };
  }

  describe('an unsafe request with the cookie', () => {
    it.each([
      ['a page of another site', [HOST, 'Sec-Fetch-Site: cross-site']],
      ['a page of another subdomain', [HOST, 'Sec-Fetch-Site: same-site']],
      [
        'a page of another site, whatever its Origin says',
        [HOST, 'Sec-Fetch-Site: cross-site', 'Origin: https://shop.example.com'],
      ],
      ['a browser of the future', [HOST, 'Sec-Fetch-Site: same-planet']],
      ['an empty Sec-Fetch-Site', [HOST, 'Sec-Fetch-Site:']],
      ['Sec-Fetch-Site in capitals, which no browser sends', [HOST, 'Sec-Fetch-Site: SAME-ORIGIN']],
      ['Sec-Fetch-Site twice', [HOST, 'Sec-Fetch-Site: same-origin', 'Sec-Fetch-Site: same-origin']],
      ['Sec-Fetch-Site twice, the good one last', [HOST, 'Sec-Fetch-Site: cross-site', 'Sec-Fetch-Site: same-origin']],
      ['an older browser on a page of another origin', [HOST, 'Origin: https://evil.example']],
      ['an older browser on another subdomain', [HOST, 'Origin: https://blog.example.com']],
      ['an older browser on the parent domain', [HOST, 'Origin: https://example.com']],
      ['an older browser on another port', [HOST, 'Origin: https://shop.example.com:8443']],
      ['an older browser on a name that begins like ours', [HOST, 'Origin: https://shop.example.com.evil.example']],
      ['an older browser on a name that ends like ours', [HOST, 'Origin: https://evilshop.example.com']],
      ['a sandboxed frame or a redirect', [HOST, 'Origin: null']],
      ['an empty Origin', [HOST, 'Origin:']],
      ['Origin twice', [HOST, 'Origin: https://shop.example.com', 'Origin: https://shop.example.com']],
      ['Origin twice, the good one last', [HOST, 'Origin: https://evil.example', 'Origin: https://shop.example.com']],
      ['an Origin with a path', [HOST, 'Origin: https://shop.example.com/']],
      ['an Origin with a user', [HOST, 'Origin: https://shop.example.com@evil.example']],
      ['an Origin of no web page', [HOST, 'Origin: file://shop.example.com']],
      ['an Origin of raw bytes', [HOST, 'Origin: https://shop.example.com\xa0']],
      ['Host twice', [HOST, 'Host: evil.example', 'Origin: https://shop.example.com']],
      ['a Host that is none', ['Host: shop.example.com/x', 'Origin: https://shop.example.com']],
      ['a Host with a user', ['Host: shop.example.com@evil.example', 'Origin: https://shop.example.com']],
      ['an empty Host', ['Host:', 'Origin: https://shop.example.com']],
    ])('from %s gets 403; the store is not called, cookie and session are kept', async (_case, headers) => {
      const { manager, send, cookie, token, calls } = await start();
      const response = await send('POST', [...headers, cookie], '/logout?everywhere');
      expect(host.takesAnyHost ? [403] : [400, 403]).toContain(response.status);
      expect(response.setCookie).toEqual([]);
      expect(response.text).not.toContain(token);
      expect(calls).toEqual([]);
      expect(await manager.checkToken(token)).not.toBeNull();
    });

    it.each([
      ['a page of our own origin', [HOST, 'Sec-Fetch-Site: same-origin', 'Origin: https://shop.example.com']],
      ['the user, out of the address bar or a bookmark', [HOST, 'Sec-Fetch-Site: none']],
      ['a client that is no browser', [HOST]],
      ['an older browser on our own page', [HOST, 'Origin: https://shop.example.com']],
      ['an older browser on our own page over HTTP', [HOST, 'Origin: http://shop.example.com']],
      ['an older browser on our own port', ['Host: localhost:3000', 'Origin: http://localhost:3000']],
      ['an older browser on our own address', ['Host: [::1]:3000', 'Origin: http://[::1]:3000']],
      ['an older browser, Host in capitals', ['Host: Shop.Example.COM', 'Origin: https://shop.example.com']],
      [
        'an older browser, the standard port in Host',
        ['Host: shop.example.com:443', 'Origin: https://shop.example.com'],
      ],
      ['an older browser, the standard port of HTTP', ['Host: shop.example.com:80', 'Origin: http://shop.example.com']],
    ])('from %s is allowed', async (_case, headers) => {
      const { send, cookie } = await start();
      const response = await send('POST', [...headers, cookie]);
      expect(response.status).toBe(200);
      expect(response.text).toContain('"ada"');
    });

    it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND'])(
      'of a page of another site is refused: %s',
      async (method) => {
        const { send, cookie, calls } = await start();
        expect((await send(method, [HOST, cookie, 'Sec-Fetch-Site: cross-site'])).status).toBe(403);
        expect(calls).toEqual([]);
      },
    );

    it('is refused in the presence of other cookies of the same name, too', async () => {
      const { manager, send, token, calls } = await start();
      const others = await manager.setToken('grace');
      calls.splice(0);
      for (const value of ['x', others]) {
        const cookie = `Cookie: session=${value}; session=${token}`;
        expect(await send('POST', [HOST, cookie, 'Sec-Fetch-Site: cross-site'])).toMatchObject({
          status: 403,
          setCookie: [],
        });
      }
      expect(calls).toEqual([]);
    });
  });

  describe('a login sent by a page of another site', () => {
    const LOGIN = '/login?user=mallory';

    it.each([
      ['another site', [HOST, 'Sec-Fetch-Site: cross-site']],
      ['another subdomain', [HOST, 'Sec-Fetch-Site: same-site']],
      ['another site, in an older browser', [HOST, 'Origin: https://evil.example']],
      ['a sandboxed frame', [HOST, 'Origin: null']],
    ])('gets 403 from %s, with a cookie, a token in the header or neither', async (_case, headers) => {
      const { manager, send, cookie, token, calls } = await start();
      for (const more of [[], [cookie], ['Cookie: session=x'], [`Authorization: Bearer ${token}`]]) {
        expect(await send('POST', [...headers, ...more], LOGIN)).toMatchObject({ status: 403, setCookie: [] });
      }
      expect(calls.filter((call) => call !== 'touch')).toEqual([]);
      expect(await manager.listUserToken('mallory')).toEqual([]);
    });

    it('is allowed from an identity provider in trustedOrigins that posts its response', async () => {
      const { send } = await start({ trustedOrigins: ['https://idp.example'] });
      const headers = [HOST, 'Sec-Fetch-Site: cross-site', 'Origin: https://idp.example'];
      const response = await send('POST', headers, LOGIN);
      expect(response.status).toBe(200);
      expect(response.setCookie).toHaveLength(1);
    });

    it("is allowed with crossOrigin: 'allow', and where no cookie is set", async () => {
      for (const options of [{ crossOrigin: 'allow' as const }, { cookie: false as const }]) {
        const { send } = await start(options);
        expect((await send('POST', [HOST, 'Sec-Fetch-Site: cross-site'], LOGIN)).status).toBe(200);
      }
    });
  });

  describe('a header without a signed token', () => {
    it.each(['Bearer junk', 'Bearer', 'Bearer AAAA.BBBB', 'Basic YWRhOng='])(
      'does not switch off the check of the cookie: %s',
      async (value) => {
        const { manager, send, cookie, token, calls } = await start();
        const headers = [HOST, cookie, `Authorization: ${value}`, 'Sec-Fetch-Site: cross-site'];
        for (const path of ['/session', '/logout', '/logout?everywhere']) {
          expect(await send('POST', headers, path)).toMatchObject({ status: 403, setCookie: [] });
        }
        expect(calls).toEqual([]);
        expect(await manager.checkToken(token)).not.toBeNull();
      },
    );

    it('lets the cookie act on a request of our own page', async () => {
      const { send, cookie } = await start();
      const headers = [HOST, cookie, 'Authorization: Bearer junk', 'Sec-Fetch-Site: same-origin'];
      expect((await send('POST', headers)).text).toContain('"ada"');
    });
  });

  describe('the method', () => {
    if (host.isNode)
      it('is the one that the client sent, not the one that method-override sets', async () => {
        const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
        const app = build(manager, {});
        const override = methodOverride('X-HTTP-Method-Override', { methods: null });
        const overridden = await listen((req, res) => override(req, res, () => app(req, res)));
        onClose(() => manager.close());
        onClose(overridden.close);
        const token = await manager.setToken('ada');
        const statusOf = async (method: string, made: string) => {
          const more = [`Cookie: session=${token}`, 'Sec-Fetch-Site: cross-site', `X-HTTP-Method-Override: ${made}`];
          return (await sendRaw(overridden.url, method, '/session', [HOST, ...more])).status;
        };
        expect(await statusOf('POST', 'GET')).toBe(403);
        expect(await statusOf('GET', 'POST')).toBe(403);
        expect(await statusOf('GET', 'GET')).toBe(200);
      });

    it('GET does not make the handshake of a WebSocket safe', async () => {
      const { send, cookie, calls } = await start();
      const handshake = [HOST, cookie, 'Upgrade: websocket', 'Origin: https://evil.example'];
      expect((await send('GET', handshake)).status).toBe(403);
      expect(calls).toEqual([]);
    });
  });

  describe('a request of a page of another site', () => {
    it.each(['GET', 'HEAD', 'OPTIONS'])('that changes nothing is allowed: %s', async (method) => {
      const { send, cookie, calls } = await start();
      expect((await send(method, [HOST, cookie, 'Sec-Fetch-Site: cross-site', 'Origin: null'])).status).toBe(200);
      expect(calls).toEqual(['touch']);
    });

    it('with a token in the header is allowed: no browser adds that by itself', async () => {
      const { send, token, cookie } = await start();
      const headers = [
        HOST,
        `Authorization: Bearer ${token}`,
        'Sec-Fetch-Site: cross-site',
        'Origin: https://evil.example',
      ];
      for (const extra of [[], [cookie]]) {
        const response = await send('POST', [...headers, ...extra]);
        expect(response.status).toBe(200);
        expect(response.text).toContain('"ada"');
      }
    });

    it('without a signed token is allowed as anonymous', async () => {
      const { send, token, calls } = await start();
      for (const cookie of [
        [],
        ['Cookie: session=x'],
        [`Cookie: session=${token.slice(0, -1)}`],
        ['Cookie: session=x; session=y'],
      ]) {
        const response = await send('POST', [HOST, ...cookie, 'Sec-Fetch-Site: cross-site']);
        expect(response).toMatchObject({ status: 200, setCookie: [] });
        expect(response.text).toContain('"user":null');
      }
      expect(calls).toEqual([]);
    });
  });

  describe("the request's own host", () => {
    it('is the one that a trusted proxy forwards', async () => {
      const headers = ['Host: internal:3000', 'X-Forwarded-Host: shop.example.com', 'Origin: https://shop.example.com'];
      const trusting = await start({ trustProxy: true });
      expect((await trusting.send('POST', [...headers, trusting.cookie])).status).toBe(200);
      const wary = await start();
      expect((await wary.send('POST', [...headers, wary.cookie])).status).toBe(403);
    });

    it('is the first of several that proxies have forwarded, with its port', async () => {
      const { send, cookie } = await start({ trustProxy: true });
      const hosts = ['shop.example.com:8443', 'proxy.internal'];
      if (host.forwardedHost === 'last') hosts.reverse();
      const forwarded = ['Host: internal', `X-Forwarded-Host: ${hosts.join(', ')}`, cookie];
      expect((await send('POST', [...forwarded, 'Origin: https://shop.example.com:8443'])).status).toBe(200);
      expect((await send('POST', [...forwarded, 'Origin: https://shop.example.com'])).status).toBe(403);
      expect((await send('POST', [...forwarded, 'Origin: https://proxy.internal'])).status).toBe(403);
    });

    it('on a secure request is another origin than a page loaded without TLS', async () => {
      const { send, token } = await start({ trustProxy: true });
      const secure = [HOST, 'X-Forwarded-Proto: https', `Cookie: __Host-session=${token}`];
      expect((await send('POST', [...secure, 'Origin: http://shop.example.com'])).status).toBe(403);
      expect((await send('POST', [...secure, 'Origin: https://shop.example.com'])).status).toBe(200);
    });
  });

  describe('trustedOrigins', () => {
    const APP = 'capacitor://localhost';
    const EXTENSION = 'chrome-extension://mhjfbmdgcfjbbpaeojofohoefgiehjai';
    const sites = ['https://App.Example.com:443', 'http://localhost:5173', 'https://münchen.example'];
    const trustedOrigins = [...sites, APP, EXTENSION];

    it.each(['https://app.example.com', 'http://localhost:5173', 'https://xn--mnchen-3ya.example', APP, EXTENSION])(
      'accepts %s, whatever Sec-Fetch-Site says',
      async (origin) => {
        const { send, cookie } = await start({ trustedOrigins });
        for (const site of [[], ['Sec-Fetch-Site: same-site'], ['Sec-Fetch-Site: cross-site']]) {
          expect((await send('POST', [HOST, cookie, `Origin: ${origin}`, ...site])).status).toBe(200);
        }
      },
    );

    it.each([
      ['another scheme', ['Origin: http://app.example.com']],
      ['another app', ['Origin: ionic://localhost']],
      ['another extension', ['Origin: chrome-extension://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa']],
      ['another port', ['Origin: https://app.example.com:8443']],
      ['a subdomain of it', ['Origin: https://x.app.example.com']],
      ['a name that begins like it', ['Origin: https://app.example.com.evil.example']],
      ['it twice', ['Origin: https://app.example.com', 'Origin: https://app.example.com']],
      ['no origin', ['Origin: null']],
      ['no Origin header, but Sec-Fetch-Site', ['Sec-Fetch-Site: same-site']],
    ])('accepts only what it names: %s', async (_case, headers) => {
      const { send, cookie } = await start({ trustedOrigins });
      expect((await send('POST', [HOST, cookie, ...headers])).status).toBe(403);
    });
  });

  it("crossOrigin: 'allow' accepts every request, for applications with their own anti-forgery tokens", async () => {
    const { send, cookie } = await start({ crossOrigin: 'allow' });
    for (const headers of [['Sec-Fetch-Site: cross-site'], ['Origin: https://evil.example'], ['Origin: null']]) {
      expect((await send('POST', [HOST, cookie, ...headers])).status).toBe(200);
    }
  });
});

describe.each([
  ['Koa 3', Koa],
  ['Koa 2', require('koa2') as typeof Koa],
])('%s', (_, Koa) => {
  const onClose = closeAfterEach();

  it.each([
    ['of a known length', () => ({ body: '_method=GET' })],
    ['in chunks', () => ({ body: new Blob(['_method=GET']).stream(), duplex: 'half' })],
  ])('treats a request with a body as unsafe, since koa-override hides the original method: %s', async (_, bodyOf) => {
    const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    const app = new Koa();
    app.silent = true;
    app.use((ctx, next) => {
      // Like a body parser.
      Object.assign(ctx.request, { body: { _method: 'GET' } });
      return next();
    });
    app.use(koaOverride());
    app.use(forKoa.sessionMiddleware(manager));
    app.use((ctx) => {
      ctx.body = { method: ctx.method };
    });
    const running = await listen(app.callback());
    onClose(() => manager.close());
    onClose(running.close);
    const cookie = `session=${await manager.setToken('ada')}`;
    const post = async (site: string) => {
      const headers = { cookie, 'sec-fetch-site': site };
      const response = await fetch(running.url, { method: 'POST', headers, ...bodyOf() } as RequestInit);
      return [response.status, await response.text()];
    };
    expect(await post('same-origin')).toEqual([200, '{"method":"GET"}']);
    expect(await post('cross-site')).toEqual([403, expect.any(String)]);
  });
});

describe('the refusal', () => {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  afterAll(() => manager.close());

  it("is a SessionError for the application's error handler; its message has no token and only the start of a header", async () => {
    const errors: unknown[] = [];
    const expressApp = express();
    expressApp.use(forExpress.sessionMiddleware(manager));
    expressApp.use(((error, req, res, _next) => {
      errors.push(error);
      res.status(error.status).json({ error: error.code, user: req.session.user });
    }) satisfies ErrorRequestHandler);
    const koaApp = new Koa();
    koaApp.use(async (ctx, next) => {
      await next().catch((error: SessionError) => {
        errors.push(error);
        ctx.status = error.status;
        ctx.body = { error: error.code, user: ctx.session.user };
      });
    });
    koaApp.use(forKoa.sessionMiddleware(manager));
    const token = await manager.setToken('ada');
    for (const listener of [expressApp, koaApp.callback()]) {
      const running = await listen(listener);
      const origin = `Origin: https://${'evil.'.repeat(200)}example`;
      const response = await sendRaw(running.url, 'POST', '/', [HOST, `Cookie: session=${token}`, origin]);
      await running.close();
      expect(response).toMatchObject({ status: 403, setCookie: [] });
      expect(JSON.parse(response.text)).toEqual({ error: 'ERR_CROSS_ORIGIN', user: null });
    }
    expect(errors).toHaveLength(2);
    for (const error of errors) {
      expect(error).toBeInstanceOf(SessionError);
      expect(error).toMatchObject({ code: 'ERR_CROSS_ORIGIN', status: 403 });
      expect((error as Error).message).toMatch(/^a page of another origin .* see the option trustedOrigins$/);
      expect((error as Error).message).not.toContain(token);
      expect((error as Error).message.length).toBeLessThan(400);
    }
  });

  it.each([
    ['crossOrigin of the wrong kind', { crossOrigin: false }, "option crossOrigin must be 'refuse' or 'allow'"],
    [
      'one origin without its list',
      { trustedOrigins: 'https://a.example' },
      'option trustedOrigins must be an array of origins',
    ],
    ['a wildcard', { trustedOrigins: ['*'] }, 'option trustedOrigins[0] must be an origin'],
    ['a wildcard for subdomains', { trustedOrigins: ['https://a.example', 'https://*.example'] }, 'trustedOrigins[1]'],
    ['null, which any sandboxed frame is', { trustedOrigins: ['null'] }, 'trustedOrigins[0]'],
    ['a path', { trustedOrigins: ['https://a.example/app'] }, 'without path or wildcard, got "https://a.example/app"'],
    ['a slash', { trustedOrigins: ['https://a.example/'] }, 'trustedOrigins[0]'],
    ['a query', { trustedOrigins: ['https://a.example?x'] }, 'trustedOrigins[0]'],
    ['a user', { trustedOrigins: ['https://u@a.example'] }, 'trustedOrigins[0]'],
    ['no scheme', { trustedOrigins: ['a.example'] }, 'trustedOrigins[0]'],
    ['another scheme', { trustedOrigins: ['ftp://a.example'] }, 'trustedOrigins[0]'],
    ['a misspelled https', { trustedOrigins: ['htps://a.example'] }, 'trustedOrigins[0]'],
    ['a misspelled http', { trustedOrigins: ['htttp://localhost:5173'] }, 'trustedOrigins[0]'],
    ['a file, whose page has no origin', { trustedOrigins: ['file://localhost'] }, 'trustedOrigins[0]'],
    ['a path of an app', { trustedOrigins: ['capacitor://localhost/'] }, 'trustedOrigins[0]'],
    ['a wildcard for extensions', { trustedOrigins: ['chrome-extension://*'] }, 'trustedOrigins[0]'],
    ['a scheme without a host', { trustedOrigins: ['capacitor://'] }, 'trustedOrigins[0]'],
    ['a port that is none', { trustedOrigins: ['https://a.example:99999'] }, 'trustedOrigins[0]'],
    ['a space', { trustedOrigins: [' https://a.example'] }, 'trustedOrigins[0]'],
    ['a number', { trustedOrigins: [7] }, 'option trustedOrigins[0] must be a string, got a value of type number'],
    [
      'a list that it would ignore',
      { crossOrigin: 'allow', trustedOrigins: ['https://a.example'] },
      "option crossOrigin: 'allow' ignores the list of option trustedOrigins",
    ],
    ['a hole', { trustedOrigins: [undefined] }, 'option trustedOrigins[0] must be a string, got undefined'],
  ])('rejects %s at setup, on any host', (_, options, message) => {
    for (const [, { direct }] of ALL_HOSTS) {
      const build = () => direct(manager, options as never);
      expect(build).toThrow(TypeError);
      expect(build).toThrow(message);
    }
  });

  it('needs neither option, and leaves the array of trusted origins unmodified', () => {
    const trustedOrigins = Object.freeze(['https://App.example']);
    for (const [, { direct }] of ALL_HOSTS) {
      expect(() => direct(manager, { trustedOrigins, crossOrigin: undefined })).not.toThrow();
      expect(() => direct(manager, { trustedOrigins: [], crossOrigin: 'allow' })).not.toThrow();
    }
    expect(trustedOrigins).toEqual(['https://App.example']);
  });
});

import type { RequestHandler } from 'express';
import { Browser } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { type ExampleProcess, killExamples, runExample } from '../support/example-process';
import { called, startBridge } from '../support/express-session-app';
import { CLIENT, startOAuthServer } from '../support/oauth-server';
import { type RedisServer, startRedis } from '../support/redis-server';
import { SECRET } from '../support/stores';
import { until } from '../support/until';

const grant = require('grant');

const onClose = closeAfterEach();

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await killExamples();
  await server.stop();
});

/** What the provider answers at an address: where it sends the browser back to. */
async function agree(address: string | null): Promise<string> {
  const { headers } = await fetch(address as string, { redirect: 'manual' });
  return headers.get('location') as string;
}

describe.each(['MemoryStore', 'RedisStore'])('grant on express-session and %s', (kind) => {
  const start = async () => {
    const provider = await startOAuthServer();
    onClose(() => provider.close());
    let handler: RequestHandler = () => undefined;
    const app = await startBridge(onClose, {
      redis: kind === 'RedisStore' ? server.url : undefined,
      between: [(req, res, next) => handler(req, res, next)],
      routes: {
        '/signed-in': async (req) => {
          const { response } = req.session.grant ?? {};
          const user = response?.profile?.sub;
          if (user === undefined) return { refused: response?.error ?? 'no flow' };
          await called((done) => req.session.regenerate(done));
          req.session.passport = { user };
          return { user };
        },
      },
    });
    handler = grant.express({
      defaults: { origin: app.url, transport: 'session', state: true },
      provider: {
        oauth: 2,
        authorize_url: `${provider.origin}/authorize`,
        access_url: `${provider.origin}/token`,
        profile_url: `${provider.origin}/userinfo`,
        key: CLIENT.id,
        secret: CLIENT.secret,
        pkce: true,
        nonce: true,
        response: ['tokens', 'profile'],
        callback: '/signed-in',
      },
    });
    return app;
  };

  it('signs in with state, nonce and verifier in the session, and the manager lists and ends the result', async () => {
    const { browse, manager, events, store } = await start();
    const browser = browse();
    const { status, headers } = await browser.visit('/connect/provider');
    expect(status).toBe(302);
    const visitor = browser.tab();
    const back = await agree(headers.get('location'));
    const returned = await browser.visit(back);
    expect([returned.status, returned.headers.get('location')]).toEqual([302, '/signed-in']);
    expect((await browser.visit('/signed-in')).body).toEqual({ user: 'ada' });
    const { body } = await browser.visit('/session');
    expect(body.data).toEqual({ cookie: expect.anything(), passport: { user: 'ada' } });
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
    expect(await store.length()).toBe(1);
    // The cookie from before the login signs nobody in.
    expect((await visitor.visit('/session')).body.data).not.toHaveProperty('passport');
    await manager.deleteUserToken('ada');
    expect((await browser.visit('/session')).body.data).not.toHaveProperty('passport');
    expect(events.map(([name]) => name)).toEqual(['login', 'revoked']);
  });

  it('refuses a flow of another browser, and a state that is not its own', async () => {
    const { browse, manager } = await start();
    const [browser, other] = [browse(), browse()];
    const planted = await agree((await other.visit('/connect/provider')).headers.get('location'));
    await browser.visit('/connect/provider');
    await browser.visit(planted);
    expect((await browser.visit('/signed-in')).body).toEqual({ refused: expect.anything() });
    const stranger = browse();
    await stranger.visit(planted);
    expect((await stranger.visit('/signed-in')).body).toEqual({ refused: expect.anything() });
    expect(await manager.listUserSessions('ada')).toEqual([]);
  });
});

describe('express-openid-connect with ExpressSessionStore as its store', () => {
  let provider: Awaited<ReturnType<typeof startOAuthServer>>;
  let program: ExampleProcess;
  let url: string;
  beforeAll(async () => {
    provider = await startOAuthServer();
    program = runExample('../test/support/programs/express-openid.mts', {
      ISSUER: provider.origin,
      CLIENT_ID: CLIENT.id,
      CLIENT_SECRET: CLIENT.secret,
      SESSION_SECRET: SECRET,
      REDIS_URL: server.url,
      PREFIX: 'openid',
    });
    [, url] = (await program.printed(/listening: (.*)\n/)) as unknown as [string, string];
  });
  afterEach(() => server.admin.flushall());
  afterAll(async () => {
    await program.terminate();
    await provider.close();
  });

  const browse = () => new Browser(url);
  const logIn = async (browser: Browser) => {
    const back = await agree((await browser.visit('/login')).headers.get('location'));
    return { back, answer: await browser.visit(back) };
  };

  it('signs in and out, and each flow once', async () => {
    const browser = browse();
    expect((await browser.visit('/me')).status).toBe(302);
    const { back, answer } = await logIn(browser);
    expect([answer.status, answer.headers.get('location')]).toEqual([302, url]);
    expect((await browser.visit('/me')).body).toEqual({ id: 'ada' });
    expect((await browser.visit('/count')).body).toBe(1);
    expect((await browse().visit(back)).status).toBe(400);
    const stolen = browser.tab();
    expect((await browser.visit('/logout')).status).toBe(302);
    expect((await stolen.visit('/me', { headers: { Accept: 'application/json' } })).body?.id).toBeUndefined();
    expect((await browse().visit('/count')).body).toBe(0);
  });

  it('goes on in another process, and takes no cookie that it has not signed', async () => {
    const browser = browse();
    await logIn(browser);
    const [name, value] = [...browser.cookies].find(([key]) => key === 'appSession') as [string, string];
    expect((await browser.tab().visit('/me')).body).toEqual({ id: 'ada' });
    const thief = browse();
    thief.cookies.set(name, decodeURIComponent(value).split('.')[0] as string);
    expect((await thief.visit('/me')).status).toBe(302);
  });

  it('does not bring a session back that was logged out while a slow request went on', async () => {
    const browser = browse();
    await logIn(browser);
    const stolen = browser.tab();
    const late = browser.tab().visit('/slow');
    await program.printed(/waiting/);
    await browser.visit('/logout');
    await browse().visit('/go-on');
    expect((await late).status).toBe(200);
    await until('the save is dropped', () => program.stdout.includes('a save was dropped'));
    expect((await stolen.visit('/me')).status).toBe(302);
    expect((await browse().visit('/count')).body).toBe(0);
  });
});

import { setTimeout as sleep } from 'node:timers/promises';
import express from 'express';
import { RedisStore, TokenManager } from 'tokensession';
import { sessionMiddleware } from 'tokensession/express';
import { listen } from '../support/apps';
import { Browser } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { called, type Route, startBridge } from '../support/express-session-app';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';

/* Writers that go on while a visitor's session becomes another one. Each has its own client of Redis. */

const onClose = closeAfterEach();
const ROUNDS = 50;
const KEYS = Array.from({ length: 12 }, (_, n) => `key-${n}`);

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('sessionMiddleware', () => {
  it.each(['login', 'rotate'] as const)('%s() loses no acknowledged write of other clients', async (verb) => {
    const prefixes = randomPrefixes();
    const managers = Array.from({ length: 3 }, () => {
      const manager = new TokenManager({
        store: new RedisStore(server.url, { ...PATIENT, ...prefixes }),
        secret: SECRET,
      });
      onClose(() => manager.close());
      return manager;
    });
    const [first, ...others] = managers as [TokenManager, ...TokenManager[]];
    const dropped: unknown[] = [];
    first.on('save-dropped', (event) => dropped.push(event));
    const app = express();
    app.use(sessionMiddleware(first));
    app.get('/begin', async (req, res) => {
      await req.session.data.set('begin', 1);
      res.json(req.session.token);
    });
    app.get('/go-on', async (req, res) => {
      if (verb === 'login') await req.session.login('ada', { keep: ['begin', ...KEYS] });
      else await req.session.rotate();
      res.json(null);
    });
    app.get('/data', async (req, res) => {
      res.json(await req.session.data.getAll());
    });
    const running = await listen(app);
    onClose(running.close);

    for (let round = 0; round < ROUNDS; round++) {
      const browser = new Browser(running.url);
      const { body: token } = await browser.visit('/begin');
      const acknowledged = new Set<string>();
      const writing = KEYS.map(async (key, n) => {
        await sleep(Math.random() * 8);
        const data = (others[n % others.length] as TokenManager).sessionData(token);
        await data.set(key, n).then(
          () => acknowledged.add(key),
          (error) => expect(error).toMatchObject({ code: 'ERR_NO_SESSION' }),
        );
      });
      await Promise.all([browser.visit('/go-on'), ...writing]);
      const { body } = await browser.visit('/data');
      expect(body.begin).toBe(1);
      expect([round, Object.keys(body).filter((key) => key !== 'begin')].flat().sort()).toEqual(
        [round, ...acknowledged].sort(),
      );
      await expect(first.sessionData(token).set('late', 1)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
    }
    expect(dropped).toEqual([]);
  });
});

describe('ExpressSessionStore', () => {
  it.each(['without regenerate', 'to another user'])('a sign-in %s loses no write silently', async (how) => {
    const prefixes = randomPrefixes();
    const routes: Record<string, Route> = {
      '/sign-in': async (req) => {
        await sleep(Math.random() * 4);
        req.session.passport = { user: req.query.user };
      },
      '/write': async (req) => {
        await sleep(Math.random() * 8);
        req.session[req.query.key as string] = 1;
        await called((done) => req.session.save(done));
      },
    };
    const start = () =>
      startBridge(onClose, {
        policy: { store: new RedisStore(server.url, { ...PATIENT, ...prefixes }) },
        routes,
      });
    const [first, ...others] = await Promise.all([start(), start(), start()]);
    if (first === undefined) throw new Error('no application');
    const events = () => [first, ...others].flatMap((app) => app.events.filter(([name]) => name === 'save-dropped'));

    for (let round = 0; round < ROUNDS; round++) {
      const browser = first.browse();
      await browser.visit('/set?begin=1');
      if (how === 'to another user') await browser.visit(`/sign-in?user=bob-${round}`);
      const before = events().length;
      const writing = KEYS.map(async (key, n) => {
        await sleep(Math.random() * 6);
        const tab = new Browser(others[n % others.length]?.url as string);
        for (const [name, value] of browser.cookies) tab.cookies.set(name, value);
        const wrote = cookieOf(tab);
        const { status } = await tab.visit(`/write?key=${key}`);
        expect([status, wrote === undefined]).toEqual([200, false]);
        return { key, isNew: cookieOf(tab) !== wrote };
      });
      const [, ...written] = await Promise.all([browser.visit(`/sign-in?user=ada-${round}`), ...writing]);
      const { body } = await browser.visit('/session');
      expect(body.data).toMatchObject({ begin: '1', passport: { user: `ada-${round}` } });
      const lost = written.filter(({ key, isNew }) => body.data[key] === undefined && !isNew);
      const reported = events().length - before;
      expect([round, lost.length]).toEqual([round, reported]);
    }
  });
});

const cookieOf = (browser: Browser) => browser.cookies.get('connect.sid');

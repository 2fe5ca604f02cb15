import { setTimeout as sleep } from 'node:timers/promises';
import express, { type ErrorRequestHandler } from 'express';
import { createRedisClient, RedisStore, type RedisStoreOptions, TokenManager } from 'tokensession';
import { ExpressSessionStore } from 'tokensession/express-session';
import { listen } from '../support/apps';
import { Browser } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { type AnySession, called, expressSession, handlerOf } from '../support/express-session-app';
import { startRedis } from '../support/redis-server';
import { startSentinelTopology } from '../support/sentinel-topology';
import { randomPrefixes, SECRET } from '../support/stores';
import { until } from '../support/until';

const { RedisStore: ConnectRedisStore } = require('connect-redis');
const { createClient } = require('redis');
const { sign } = require('cookie-signature');

const onClose = closeAfterEach();

const USERS = 60;
const TIMEOUT_MS = 4000;
const DURABILITY: RedisStoreOptions['durability'] = { replicas: 1 };

type Done = (error?: unknown, reply?: unknown) => void;

/** Servers with a Sentinel, and a former store: of connect-redis on a server of its own, or on the same servers. */
async function startMove(place: 'another server' | 'the same servers') {
  const topology = await startSentinelTopology({ replicas: 2 });
  onClose(() => topology.stop());
  const { sentinels, name } = topology;
  const former = place === 'another server' ? await connectRedisStore() : await storeOf({ sentinels, name });
  const prefixes = randomPrefixes();
  const managers = [0, 1].map(() => {
    const store = new RedisStore({ sentinels, name }, { ...prefixes, timeoutMs: TIMEOUT_MS, durability: DURABILITY });
    return new TokenManager({ store, secret: SECRET });
  });
  const apps = managers.map((manager) => {
    const store = new ExpressSessionStore<AnySession>(manager, {
      userIdOf: (session) => session.passport?.user,
      legacy: { store: former },
    });
    const app = express();
    app.set('env', 'test');
    app.use(expressSession({ secret: SECRET, resave: false, saveUninitialized: false, store }));
    app.get(
      '/who',
      handlerOf((req) => ({ user: req.session.passport?.user ?? null, cart: req.session.cart ?? null })),
    );
    app.get(
      '/logout',
      handlerOf((req) => called((done) => req.session.destroy(done))),
    );
    app.use(((error, _req, res, next) => {
      if (res.headersSent) return next(error);
      res.status((error as { status?: number }).status ?? 500).json({ error: String((error as Error).message) });
    }) satisfies ErrorRequestHandler);
    return app;
  });
  let turn = 0;
  const running = await listen((req, res) => apps[turn++ % apps.length]?.(req, res));
  onClose(async () => {
    await running.close();
    for (const manager of managers) await manager.close();
  });
  /** A browser that was signed in by the former store. */
  const signedIn = async (user: string) => {
    const id = `former-${user}`;
    const cookie = { originalMaxAge: 3_600_000, expires: new Date(Date.now() + 3_600_000), path: '/' };
    await called((done) => former.set(id, { cookie, passport: { user }, cart: user }, done));
    const browser = new Browser(running.url);
    browser.cookies.set('connect.sid', encodeURIComponent(`s:${sign(id, SECRET)}`));
    return browser;
  };
  return { topology, manager: managers[0] as TokenManager, signedIn };
}

async function connectRedisStore() {
  const server = await startRedis();
  onClose(() => server.stop());
  const client = await createClient({ url: server.url }).connect();
  onClose(() => client.destroy());
  return new ConnectRedisStore({ client });
}

/** A store of express-session that finds its master by Sentinel. */
async function storeOf(target: { sentinels: { host: string; port: number }[]; name: string }) {
  const client = createRedisClient(target, { timeoutMs: TIMEOUT_MS });
  client.on('error', () => undefined);
  onClose(() => client.disconnect());
  await until('the client is connected', () => client.status === 'ready');
  const answer = (asked: Promise<unknown>, done: Done) => {
    asked.then(
      (reply) => done(null, reply),
      (error) => done(error),
    );
  };
  return {
    get: (id: string, done: Done) =>
      answer(
        client.get(`sess:${id}`).then((json) => (json === null ? null : JSON.parse(json))),
        done,
      ),
    set: (id: string, session: object, done: Done) =>
      answer(client.set(`sess:${id}`, JSON.stringify(session), 'EX', 3600), done),
    destroy: (id: string, done: Done) => answer(client.del(`sess:${id}`), done),
  };
}

it.each(['another server', 'the same servers'] as const)(
  'a failover in the middle of a move signs nobody out and revives nothing, with the former store on %s',
  async (place) => {
    const { topology, manager, signedIn } = await startMove(place);
    const users = Array.from({ length: USERS }, (_, i) => `user-${i}`);
    const browsers = await Promise.all(users.map(signedIn));
    await topology.untilReplicated();
    const wrong: unknown[] = [];
    const statuses = new Map<number, number>();
    // Express closes the connection where express-session's save fails at the end of an answer.
    const broken = { status: 503, body: null as AnySession };
    const ask = async (browser: Browser, path: string) => {
      const answer = await browser.visit(path).catch(() => broken);
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      return answer;
    };
    const isLeaving = (i: number) => i % 3 === 0;
    /** Uses a session until it was moved and used once more. */
    const use = async (browser: Browser, i: number) => {
      for (let uses = 0; uses < 2; ) {
        const { status, body } = await ask(browser, '/who');
        if (status === 200) {
          uses++;
          if (body.user !== users[i] && !isLeaving(i)) wrong.push({ i, body });
        } else {
          if (status !== 503) wrong.push({ i, status, body });
          await sleep(200);
        }
      }
    };
    const leave = async (browser: Browser) => {
      while ((await ask(browser, '/logout')).status !== 200) await sleep(200);
    };
    const tabs = browsers.map((browser) => [browser.tab(), browser.tab(), browser.tab()]);
    const master = await topology.master();
    let killed: Promise<unknown> | null = null;
    const clients = tabs.map(async (some, i) => {
      await sleep(15 * i);
      if (i === USERS / 2) killed = master.kill();
      const using = some.map((tab) => use(tab, i));
      if (isLeaving(i)) {
        const last = (some[0] as Browser).tab();
        await leave(last);
      }
      await Promise.all(using);
    });
    await Promise.all(clients);
    expect(killed).not.toBeNull();
    expect(wrong).toEqual([]);
    expect(statuses.get(503)).toBeGreaterThan(0);
    await topology.untilMaster(master);

    for (const [i, user] of users.entries()) {
      for (const browser of [browsers[i] as Browser, ...(tabs[i] as Browser[])]) {
        const { body } = await until('it answers', async () => {
          const answer = await ask(browser.tab(), '/who');
          return answer.status === 200 ? answer : undefined;
        });
        expect([user, body.user]).toEqual([user, isLeaving(i) ? null : user]);
      }
      expect(await manager.listUserSessions(user)).toHaveLength(isLeaving(i) ? 0 : 1);
    }
  },
);

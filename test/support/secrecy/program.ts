import { Redis } from 'ioredis';
import {
  createRedisClient,
  MemoryStore,
  RedisStore,
  type Store,
  TokenManager,
  type TokenManagerOptions,
} from 'tokensession';
import { ExpressSessionStore } from 'tokensession/express-session';
import { requireRecentLogin, requireUser, sessionOpener } from 'tokensession/fetch';
import type { Detail } from '../apps';
import { startProxy, type TcpProxy } from '../tcp-proxy';
import { printsOf } from '../texts-in';
import { until } from '../until';
import { APPS } from './apps';
import { callEverything, misplacedTokens } from './calls';
import { inCookie, inHeader, withClient } from './client';
import { misplacedInMiddleware, misplacedPasswords, misplacedSecrets } from './options';
import { brokenStores, type Passwords, type Servers, silenced, urlOf } from './scenes';
import { tourOfHttp } from './tour';
import { Witness } from './witness';

/*
 * A program that makes all calls, valid and invalid, prints what applications print, and reports to its parent what it
 * has seen.
 */
export interface Briefing {
  /** The first one signs; tokens signed with the second exist as well. */
  secrets: [string, string];
  passwords: Passwords;
  servers: Servers;
}

const { secrets, passwords, servers } = JSON.parse(process.env.BRIEFING ?? '') as Briefing;
const witness = new Witness();
process.on('warning', (warning) => witness.value('process warning', warning));
process.on('unhandledRejection', (reason) => {
  witness.count('uncaught rejection');
  witness.value('uncaught rejection', reason);
});

/** For calls that must not fail, even on a busy machine. */
const PATIENT = { timeoutMs: 10_000 };

const manage = (where: string, store: Store, options: Partial<TokenManagerOptions<Detail>> = {}) => {
  const manager = new TokenManager<Detail>({ store, secret: secrets, ...options });
  witness.watch(where, manager as TokenManager<never>);
  for (const [name, object] of Object.entries({ store, manager })) witness.value(`${where}: ${name}`, object);
  return manager;
};

const issuer = new TokenManager({ store: new MemoryStore(), secret: secrets });
async function tokenFor(userId: string): Promise<string> {
  const token = await issuer.setToken(userId);
  witness.issued(token);
  return token;
}

/** All calls on a working store, with listeners that throw. */
async function served(where: string, store: Store): Promise<void> {
  const manager = manage(where, store, {
    cache: true,
    maxSessions: 3,
    onLimit: 'reject',
    rotationGrace: 0,
    getUserInfo: (id) => {
      if (id === 'broken') throw new Error('the database of users is down');
      return id === 'nobody' ? null : { name: id };
    },
  });
  manager.on('login', () => {
    throw new Error('a listener that throws');
  });
  manager.on('logout', async () => {
    await manager.setToken('x'.repeat(2000));
  });
  await tourOfHttp(manager, witness);
  await replacing(`${where}, replacing`, store);
  await refusing(`${where}, refusing`, manager);

  const token = await manager.setToken('misplaced');
  const others = await manager.setToken('others');
  for (const issued of [token, others]) witness.issued(issued);
  for (const [i, call] of misplacedTokens(token, others).entries()) {
    await witness.failure(`${where}: misplaced token ${i}`, () => call(manager as TokenManager<never>));
  }
  const inMiddleware = misplacedInMiddleware(manager as TokenManager<never>, token, passwords.right);
  for (const [i, build] of [...misplacedSecrets(store, secrets[0]), ...inMiddleware].entries()) {
    await witness.failure(`${where}: option ${i}`, build);
  }
  witness.value(`${where}: health`, await manager.health());
}

/** Logins that end others. */
async function replacing(where: string, store: Store): Promise<void> {
  const manager = manage(where, store, { singleMode: true });
  for (let i = 0; i < 2; i++) witness.issued(await manager.setToken('replaced'));
}

/** What data, guards and a watch say when they refuse, or when the session has ended. */
async function refusing(where: string, manager: TokenManager<Detail>): Promise<void> {
  const { token, id } = await manager.createSession('acted for', { actor: 'support' });
  const other = await manager.setToken('another');
  for (const issued of [token, other]) witness.issued(issued);
  const open = sessionOpener(manager);
  const opened = (cookie: string) => open(new Request('https://app.example', { method: 'POST', headers: { cookie } }));
  const cookieOf = (value: string) => `__Host-session=${value}`;
  const fails = (call: () => unknown) => witness.failure(where, call);

  const data = manager.sessionData(token);
  await fails(() => data.set('text', token.repeat(1000)));
  let writes = 0;
  await fails(() => data.update('text', () => data.set('text', `${token} ${writes++}`).then(() => token)));
  const session = await opened(cookieOf(token));
  await fails(() => requireRecentLogin(session, 60));
  const ofBoth = await opened(`${cookieOf(token)}; ${cookieOf(other)}`);
  await fails(() => ofBoth.logout({ everywhere: true }));

  const signal = manager.watch(token);
  await manager.deleteToken(token);
  await until('its signal aborts', () => signal.aborted);
  witness.error(`${where}: signal`, signal.reason);
  await fails(() => data.set('text', token));
  const ended = await opened(cookieOf(token));
  await fails(() => requireUser(ended));
  const store = new ExpressSessionStore(manager, { userIdOf: () => null });
  await store.set(`${token.slice(0, 22)}.${id}`, { text: token, cookie: {} });
}

/** The outcome of each call, and of each request with a token, while the store fails. */
async function unserved(where: string, store: Store): Promise<void> {
  const manager = manage(where, store, { getUserInfo: (id) => ({ name: id }) });
  const token = await tokenFor('ada');
  await witness.failure(where, () => store.setUserInfo('A'.repeat(22), '1', 1000, Date.now()));
  await callEverything(where, manager as TokenManager<never>, token, witness);
  for (const build of Object.values(APPS)) {
    await withClient(build(manager, {}, witness), witness, async (send) => {
      for (const headers of [[inCookie(token)], [inHeader(token)], []]) {
        for (const path of ['/me', '/login?user=ada']) await send('POST', path, ...headers);
      }
    });
    await withClient(build(manager, { onUnavailable: 'anonymous' }, witness), witness, async (send) => {
      const paths = ['/me', '/vault', '/log', '/login?user=ada', '/logout', '/logout?everywhere', '/rotate'];
      for (const path of paths) await send('POST', path, inCookie(token));
    });
  }
  await manager.close();
}

/** One after the other: parallel calls would fail for lack of time instead of their own reason. */
async function unservedByAll(silent: TcpProxy): Promise<void> {
  for (const [where, open] of Object.entries(brokenStores(servers, passwords, silent))) await unserved(where, open());
}

/** Damaged records of users. */
async function corrupt(store: RedisStore): Promise<void> {
  const manager = manage('a corrupt record', store, { getUserInfo: (id) => ({ name: id }) });
  const admin = silenced(new Redis(urlOf(servers.main, passwords.right)));
  const spoils: ((key: string, sid: string, token: string) => Promise<unknown>)[] = [
    (key, _sid, token) => admin.set(key, token),
    (key) => admin.hset(key, 'id', 'another user'),
    (key) => admin.hset(key, 'v', '99'),
    (key, sid, token) => admin.hset(key, sid, token),
    (key, sid, token) => admin.hset(key, `${sid}.a`, `{"device":"${token}`),
    (key, sid) => admin.hset(key, `${sid}.a`, 'null'),
    (key, sid, token) => admin.hset(key, `${sid}.a`, token),
    (key, _sid, token) => admin.hset(key, 'ban', token),
    (key, _sid, token) => admin.set(key.replace('session-token', 'session-user'), `{"name":"${token}`),
  ];
  for (const [i, spoil] of spoils.entries()) {
    const userId = `corrupt-${i}`;
    const token = await manager.setToken(userId, 60, { device: 'web' });
    witness.issued(token);
    const [tag, sid = ''] = token.split('.');
    await spoil(`session-token:{${tag}}`, sid, token);
    manager.watch(token);
    const calls: (() => Promise<unknown>)[] = [
      () => manager.touchToken(token),
      () => manager.rotateToken(token),
      () => manager.listUserSessions(userId),
      () => manager.getBan(userId),
      () => manager.setToken(userId),
      () => manager.deleteToken(token),
    ];
    for (const call of calls) await witness.failure(`a corrupt record ${i}`, call);
  }
  await until('a watch has failed', () => witness.testimony.tally['event watch-failed']);
  admin.disconnect();
  await manager.close();
}

/** A logout that no replica confirms, and a store that returns. */
async function recovering(silent: TcpProxy): Promise<void> {
  const store = new RedisStore(urlOf(silent.port, passwords.right), { timeoutMs: 5000, durability: { replicas: 1 } });
  const manager = manage('a Redis that comes back', store);
  const ask = () => witness.failure('a Redis that comes back', () => manager.getBan('ada'));
  silent.hold();
  // Enough calls to open the circuit, and one that the open circuit refuses.
  await Promise.all(Array.from({ length: 5 }, ask));
  await ask();
  silent.pass();
  await until('it is up', async () => {
    await ask();
    return (witness.testimony.tally['event store-up'] ?? 0) > 0;
  });
  const token = await until('it is served', () => manager.setToken('unconfirmed'));
  witness.issued(token);
  await witness.failure('a logout that no replica confirms', () => manager.deleteToken(token));
  await manager.close();
}

/** Sessions from the near cache, one of which cannot be slid, and lost announcements. */
async function cached(silent: TcpProxy): Promise<void> {
  const store = new RedisStore(urlOf(silent.port, passwords.right), { timeoutMs: 5000 });
  const manager = manage('a near cache', store, { cache: { heartbeatMs: 10_000 }, slideEvery: 1 });
  const token = await until('it is served', () => manager.setToken('cached'));
  witness.issued(token);
  await until('it is answered from memory', async () => {
    await manager.touchToken(token);
    return (manager.cacheStats?.hits ?? 0) > 0;
  });
  witness.value('what is answered from memory', manager);
  silent.hold();
  const { tally } = witness.testimony;
  await until('it could not be slid', async () => {
    await manager.touchToken(token).catch(() => undefined);
    return tally['event slide-failed'];
  });
  silent.cut();
  await until('the cache is down', () => tally['event cache-down']);
  silent.pass();
  await until('the cache is up again', async () => {
    await manager.touchToken(token).catch(() => undefined);
    return manager.cacheStats?.isUp;
  });
  await manager.close();
}

/** Clients that an application makes, and the errors that they emit. */
async function ownClients(): Promise<void> {
  const { right, wrong } = passwords;
  await Promise.all([
    ownClient('createRedisClient', createRedisClient(urlOf(servers.main, wrong))),
    ownClient('createRedisClient, without AUTH', createRedisClient(urlOf(servers.strict, right))),
    ownClient('ioredis', new Redis(servers.main, '127.0.0.1', { password: wrong })),
  ]);
}

async function ownClient(name: string, client: Redis): Promise<void> {
  const failed = new Promise((resolve) => {
    client.on('error', (error) => {
      witness.value(`error event of ${name}: `, error);
      resolve(undefined);
    });
  });
  const manager = manage(`over ${name}`, new RedisStore(client, PATIENT));
  await callEverything(`over ${name}`, manager as TokenManager<never>, await tokenFor('ada'), witness);
  await failed;
  for (const [way, text] of printsOf(client)) witness.text(`client of ${name}, ${way}`, text);
  await manager.close();
  client.disconnect();
}

async function main(): Promise<void> {
  const main = new RedisStore(urlOf(servers.main, passwords.right), PATIENT);
  const memory = new MemoryStore();
  const proxies = [startProxy(servers.main), startProxy(servers.main), startProxy(servers.main)] as const;
  const [silent, faltering, deaf] = await Promise.all(proxies);
  silent.hold();
  await Promise.all([
    served('memory', memory),
    served('Redis', main),
    unservedByAll(silent),
    corrupt(new RedisStore(urlOf(servers.main, passwords.right), PATIENT)),
    recovering(faltering),
    cached(deaf),
    ownClients(),
    ...misplacedPasswords(passwords).map((build, i) => witness.failure(`option of Redis ${i}`, build)),
  ]);
  await Promise.all([main.close(), memory.close(), issuer.close(), silent.stop(), faltering.stop(), deaf.stop()]);
  witness.text('the title of the process', process.title);
  witness.text('the arguments of the process', process.argv.join(' '));
  process.send?.(witness.testimony, () => process.disconnect());
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

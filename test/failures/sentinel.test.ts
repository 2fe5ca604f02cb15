import { RedisStore, type RedisStoreOptions, TokenManager } from 'tokensession';
import { ACL_LOGIN, aclsIn, refusalsOf, setAcl } from '../support/acl';
import { closeAfterEach } from '../support/closing';
import { runProgram } from '../support/programs';
import { ask, type RedisServer } from '../support/redis-server';
import { type SentinelTopology, startSentinelTopology } from '../support/sentinel-topology';
import { idOf } from '../support/session-id';
import { startStopwatch } from '../support/stopwatch';
import { PATIENT, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { startTraffic } from '../support/traffic';
import { answered, until } from '../support/until';

const TIMEOUT_MS = 2500;
/** The margin of a call beyond its deadline on a busy machine; shorter than a deadline. */
const SLACK_MS = 900;
/** How long after the Sentinels mark a master as down all users must be served again. */
const BACK_MS = 15_000;
// A password without blanks: Sentinels cannot read those back from their own configuration.
const PASSWORD = 'a-password-for-tests';
const SENTINEL_PASSWORD = 'another-password-for-tests';

let shared: SentinelTopology;
let topology: SentinelTopology;
/** For the next test with a promotion: recovery takes longer than a new start. It starts during the test before. */
let next: Promise<SentinelTopology> | undefined;
/** How many of them are still to start. */
let nextOnes = 6;
const onClose = closeAfterEach();

beforeAll(async () => {
  shared = await start();
  startNext();
});
afterAll(async () => {
  await Promise.all([shared.stop(), next?.then((unused) => unused.stop())]);
});
beforeEach(async () => {
  topology = shared;
  await topology.untilHealed();
});

function startNext(): void {
  next = nextOnes-- > 0 ? start() : undefined;
  // The test that needs it reports the failure.
  next?.catch(() => undefined);
}

async function startOwn(): Promise<void> {
  const own = await (next ?? start());
  onClose(() => own.stop());
  topology = own;
  startNext();
}

function start(): Promise<SentinelTopology> {
  return startSentinelTopology({
    password: PASSWORD,
    sentinelPassword: SENTINEL_PASSWORD,
    // A master that comes back empty, before the Sentinels have made it a replica, signs users out: docs/redis.md
    // says so.
    settings: { appendonly: 'yes' },
  });
}

function manage(options: RedisStoreOptions = {}, policy: { rotationGrace?: number } = {}): TokenManager<never> {
  const { sentinels, name } = topology;
  const settings = { sentinels, name, password: PASSWORD, sentinelPassword: SENTINEL_PASSWORD };
  const store = new RedisStore(settings, { timeoutMs: TIMEOUT_MS, ...options });
  const manager = new TokenManager<never>({ store, secret: SECRET, ...policy });
  onClose(() => manager.close());
  return manager;
}

async function logIn(sessions: TokenManager<never>, users: number): Promise<Map<string, string>> {
  const tokens = new Map<string, string>();
  for (let i = 0; i < users; i++) tokens.set(`user-${i}`, await sessions.setToken(`user-${i}`));
  await topology.untilReplicated();
  return tokens;
}

describe.each([
  ['killed', (master: RedisServer) => master.kill(), (master: RedisServer) => master.restart()],
  ['paused', async (master: RedisServer) => master.pause(), async (master: RedisServer) => master.resume()],
] as const)('a master that is %s', (_, strike, recover) => {
  beforeEach(startOwn);

  it('is replaced, and all users are served again: none signed out, none mixed up, none waits beyond the deadline', async () => {
    const sessions = manage();
    const traffic = startTraffic(sessions, await logIn(sessions, 10));
    const master = await topology.master();
    await traffic.untilServed();
    await strike(master);
    await traffic.untilFailed();
    await topology.untilMaster(master);
    await traffic.untilServed(BACK_MS);
    // It returns as a master that does not know of its replacement, and is not trusted.
    await recover(master);
    await topology.untilHealed();
    await traffic.untilServed();
    const report = await traffic.stop();
    expect(report).toMatchObject({ signedOut: 0, mixedUp: 0 });
    expect(Object.keys(report.failed).sort()).toEqual(
      expect.arrayContaining([expect.stringMatching(/^ERR_STORE_(UNAVAILABLE|TIMEOUT)$/)]),
    );
    for (const code of Object.keys(report.failed)) expect(code).toMatch(/^ERR_STORE_(UNAVAILABLE|TIMEOUT)$/);
    expect(report.worstActiveMs).toBeLessThan(TIMEOUT_MS + SLACK_MS);
    await until('it is up', async () => (await sessions.health()).status === 'up');
  });

  it('loses no revocation: it is repeated once its process has reconnected', async () => {
    const sessions = manage();
    const tokens = await logIn(sessions, 9);
    const [loggedOut, kicked, kept, others] = [...tokens.values()] as [string, string, string, string];
    const [banned, rotated] = [tokens.get('user-6') as string, tokens.get('user-7') as string];
    const former = tokens.get('user-8') as string;
    const second = await sessions.setToken('user-2');
    const strict = manage({}, { rotationGrace: 0 });
    const stolen = await strict.setToken('user-9');
    const grandchild = (await strict.rotateToken((await strict.rotateToken(stolen)) as string)) as string;
    expect(await strict.touchToken(grandchild)).not.toBeNull();
    const single = await sessions.createSession('user-4', { replaces: [tokens.get('user-4') as string] });
    await topology.untilReplicated();
    const master = await topology.master();
    const replicas = await topology.replicas();

    // From here on no replica receives writes.
    for (const replica of replicas) replica.pause();
    await ask(master, 'CLIENT', 'KILL', 'TYPE', 'replica');
    expect(await sessions.deleteToken(loggedOut)).toBe(true);
    expect(await sessions.deleteUserToken('user-1')).toBe(1);
    expect(await sessions.deleteUserToken('user-2', { except: second })).toBe(1);
    const replacing = await sessions.createSession('user-5', { replaces: [tokens.get('user-5') as string] });
    expect(await sessions.banUser('user-6', { reason: 'spam' })).toBe(1);
    expect(await sessions.deleteToken((await sessions.rotateToken(rotated)) as string)).toBe(true);
    expect(await strict.inspectToken(stolen)).toMatchObject({ session: null, reason: 'reused' });
    const next = (await sessions.rotateToken((await sessions.rotateToken(former)) as string)) as string;
    await strike(master);
    for (const replica of replicas) replica.resume();
    await topology.untilMaster(master);

    const ended = [
      loggedOut,
      kicked,
      kept,
      banned,
      rotated,
      grandchild,
      tokens.get('user-4') as string,
      tokens.get('user-5') as string,
    ];
    for (const manager of [sessions, strict]) {
      await until('service is back', async () => (await manager.checkToken(others)) !== null);
    }
    for (const token of ended) expect(await answered(() => sessions.checkToken(token))).toBeNull();
    expect(await answered(() => sessions.getBan('user-6'))).toMatchObject({ until: null, reason: 'spam' });
    const login = () => sessions.setToken('user-6').catch(({ status, code }) => status !== 503 && code);
    expect(await until('the login is judged', login)).toBe('ERR_USER_BANNED');
    // Rotations need no repetition: no record had moved on.
    expect(await answered(() => sessions.checkToken(former))).toMatchObject({ id: idOf(next) });
    for (const token of [second, single.token, others, next]) {
      expect(await answered(() => sessions.checkToken(token))).not.toBeNull();
    }
    // A login that no replica has received is lost with the master for good.
    expect(await answered(() => sessions.checkToken(replacing.token))).toBeNull();
  });
});

it('unreachable Sentinels give a 503 at once, and service returns with them', async () => {
  const token = await manage().setToken('ada');
  await Promise.all(topology.sentinelServers.map((sentinel) => sentinel.kill()));
  const sessions = manage();
  await until('the client has found no sentinel', () =>
    sessions.checkToken(token).catch(({ code }) => code === 'ERR_STORE_UNAVAILABLE'),
  );
  // Not the deadline, which has another code.
  await expect(sessions.checkToken(token)).rejects.toMatchObject({
    code: 'ERR_STORE_UNAVAILABLE',
    cause: { message: expect.stringMatching(/^no sentinel named the master: .*ECONNREFUSED/) },
  });
  await Promise.all(topology.sentinelServers.map((sentinel) => sentinel.restart()));
  await until('service is back', async () => (await sessions.checkToken(token)) !== null);
});

it('a promotion announced while the client looks for the master does not end the client', async () => {
  await startOwn();
  const proxy = await startProxy(topology.sentinels[0]?.port as number);
  onClose(() => proxy.stop());
  const store = new RedisStore(
    {
      sentinels: [{ host: '127.0.0.1', port: proxy.port }],
      name: topology.name,
      password: PASSWORD,
      sentinelPassword: SENTINEL_PASSWORD,
    },
    { timeoutMs: 1500 },
  );
  onClose(() => store.close());
  const sessions = new TokenManager({ store, secret: SECRET });
  const token = await until('it is there', () => sessions.setToken('ada'));
  await topology.untilReplicated();
  const master = await topology.master();
  // The sentinel that it queries is silent; another one, to which it subscribes, is not.
  proxy.hold();
  await ask(master, 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await until('it looks for the master', () =>
    sessions.checkToken(token).then(
      () => false,
      () => true,
    ),
  );
  await ask(topology.sentinelServers[1] as RedisServer, 'SENTINEL', 'FAILOVER', topology.name);
  await topology.untilMaster(master);
  proxy.pass();
  await until('service is back', async () => (await sessions.checkToken(token)) !== null);
});

it('serves a user with the rights that docs/redis.md gives, and needs no other, also through a promotion', async () => {
  await startOwn();
  const [ofServers, , ofSentinels] = aclsIn('docs/redis.md') as [string[], string[], string[]];
  await setAcl(topology.nodes, ofServers);
  await setAcl(topology.sentinelServers, ofSentinels);
  const { username, password } = ACL_LOGIN;
  const store = new RedisStore(
    {
      sentinels: topology.sentinels,
      name: topology.name,
      ...ACL_LOGIN,
      sentinelUsername: username,
      sentinelPassword: password,
    },
    { ...PATIENT, durability: { replicas: 1 } },
  );
  const sessions = new TokenManager({ store, secret: SECRET });
  onClose(() => sessions.close());
  const token = await sessions.setToken('ada');
  await topology.untilReplicated();
  const all = [...topology.nodes, ...topology.sentinelServers];
  await Promise.all(all.map((server) => ask(server, 'ACL', 'LOG', 'RESET')));
  const master = await topology.master();
  // Only the announcement shows this to the client: its connection works.
  await ask(topology.sentinelServers[0] as RedisServer, 'SENTINEL', 'FAILOVER', topology.name);
  await topology.untilMaster(master);
  await until('service is back', async () => (await sessions.touchToken(token)) !== null);
  await until('it is confirmed', async () => (await sessions.deleteUserToken('ada')) >= 0);
  expect(await refusalsOf(all)).toEqual([]);
});

it.each([
  ['another name', { name: 'nobody' }],
  ['another password', { sentinelPassword: 'wrong' }],
])('Sentinels that refuse %s give a 503 at once', async (_, wrong) => {
  const { sentinels, name } = topology;
  const settings = { sentinels, name, password: PASSWORD, sentinelPassword: SENTINEL_PASSWORD, ...wrong };
  const store = new RedisStore(settings, PATIENT);
  onClose(() => store.close());
  await expect(store.list('A'.repeat(22))).rejects.toMatchObject({
    code: 'ERR_STORE_UNAVAILABLE',
    cause: { message: expect.stringMatching(/^no sentinel named the master: .*(WRONGPASS|No such master)/) },
  });
});

/** The number of clients subscribed to promotions at a sentinel. */
async function listenersOf(sentinel: RedisServer): Promise<number> {
  return (await ask<string>(sentinel, 'CLIENT', 'LIST', 'TYPE', 'pubsub')).match(/^id=/gm)?.length ?? 0;
}

it('an unreachable sentinel prints nothing', async () => {
  const { sentinels, name } = topology;
  const settings = { sentinels, name, password: PASSWORD, sentinelPassword: SENTINEL_PASSWORD };
  const run = runProgram('listening.ts', { REDIS_SENTINEL_SETTINGS: JSON.stringify(settings) });
  const away = topology.sentinelServers[2] as RedisServer;
  await until('it listens', async () => (await listenersOf(away)) > 0);
  onClose(() => away.restart());
  await away.kill();
  expect(await run).toEqual({ stdout: '', stderr: '' });
});

it('connections that wait for replicas do not subscribe to a sentinel, and leave nothing behind', async () => {
  const sentinel = topology.sentinelServers[0] as RedisServer;
  await until('no client is subscribed yet', async () => (await listenersOf(sentinel)) === 0);
  const sessions = manage({ durability: { replicas: 1 } });
  for (let i = 0; i < 3; i++) {
    await until('it is confirmed', async () => sessions.deleteToken(await sessions.setToken('ada')));
    await until('the client of the calls alone is subscribed', async () => (await listenersOf(sentinel)) === 1);
    await ask(await topology.master(), 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  }
  await sessions.close();
  await until('no client is subscribed any more', async () => (await listenersOf(sentinel)) === 0);
});

it('a manager closes, whether it has found a master or not', async () => {
  const lost = new RedisStore(
    { sentinels: [{ host: '127.0.0.1', port: 1 }], name: 'nobody' },
    { timeoutMs: TIMEOUT_MS },
  );
  const sessions = manage();
  await sessions.setToken('ada');
  for (const store of [lost, sessions]) {
    const elapsedMs = startStopwatch();
    await store.close();
    expect(elapsedMs()).toBeLessThan(TIMEOUT_MS + SLACK_MS);
  }
});

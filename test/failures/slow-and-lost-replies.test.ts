import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RedisStore, TokenManager, type TokenManagerOptions } from 'tokensession';
import { closeAfterEach } from '../support/closing';
import { ask, askInfo, callsOf, type RedisServer, scriptCalls, startRedis } from '../support/redis-server';
import { idOf } from '../support/session-id';
import { startStopwatch } from '../support/stopwatch';
import { newSession, PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy, type TcpProxy } from '../support/tcp-proxy';
import { startTraffic } from '../support/traffic';
import { until } from '../support/until';

const TIMEOUT_MS = 1000;
/** What a call may take beyond its deadline on a busy machine; less than a second deadline. */
const SLACK_MS = 900;
/** The longest time of a call that waits for nothing. */
const AT_ONCE_MS = TIMEOUT_MS / 2;
/** How long a Redis is slow, so that calls surely exceed their deadlines. */
const SLOW_MS = 2.5 * TIMEOUT_MS;

let server: RedisServer;
let proxy: TcpProxy;
let prefixes: ReturnType<typeof randomPrefixes>;
const onClose = closeAfterEach();

beforeAll(async () => {
  // Redis 7.0 and later require this setting for DEBUG; earlier versions do not know it.
  server = await startRedis({ 'enable-debug-command': 'yes' }).catch(() => startRedis());
});
afterAll(() => server.stop());
beforeEach(async () => {
  prefixes = randomPrefixes();
  proxy = await startProxy(server.port);
  onClose(() => proxy.stop());
});

type Target = ConstructorParameters<typeof RedisStore>[0];

function manage(target: Target, options: Partial<TokenManagerOptions<never>> = {}, timing = { timeoutMs: TIMEOUT_MS }) {
  const store = new RedisStore(target, { ...timing, ...prefixes });
  const manager = new TokenManager<never>({ store, secret: SECRET, ...options });
  onClose(() => manager.close());
  return manager;
}

const proxied = () => ({ host: '127.0.0.1', port: proxy.port });

/** A client of the application's own, with ioredis's defaults. */
function ownClient(port: number): Redis {
  const client = new Redis(port, '127.0.0.1');
  client.on('error', () => undefined);
  onClose(() => client.disconnect());
  return client;
}

async function timed<Result>(call: Promise<Result>) {
  const elapsedMs = startStopwatch();
  const [outcome] = await Promise.allSettled([call]);
  return { outcome, ms: elapsedMs() };
}

const refused = (code: string) => ({ status: 'rejected', reason: { name: 'SessionError', code, status: 503 } });
const timeout = refused('ERR_STORE_TIMEOUT');
const unavailable = refused('ERR_STORE_UNAVAILABLE');

/** Calls until the circuit refuses calls. */
async function untilSpared(sessions: TokenManager<never>, token: string) {
  await until('the circuit is open', async () => {
    await Promise.all(Array.from({ length: 5 }, () => timed(sessions.checkToken(token))));
    const { outcome } = await timed(sessions.checkToken(token));
    return outcome.status === 'rejected' && /stopped answering/.test(String(outcome.reason));
  });
}

/** Logs in through a patient manager, then waits until the hasty one serves and knows the clock of its Redis. */
async function logIn(sessions: TokenManager<never>, userId = 'ada', target = server.url): Promise<string> {
  const token = await manage(target, {}, PATIENT).setToken(userId);
  await untilServing(sessions, token);
  return token;
}

async function untilServing(sessions: TokenManager<never>, token: string): Promise<void> {
  await until('it serves', async () => (await sessions.checkToken(token)) !== null);
  // Without the clock, Redis refuses a first write that has a deadline, whether late or not.
  await until('it knows the clock', () => sessions.unbanUser('stranger').then(() => true));
}

/** Waits until so many calls for sessions have run since the last CONFIG RESETSTAT. */
const untilRun = (calls: number) => until(`${calls} calls have run`, async () => (await scriptCalls(server)) >= calls);

/** Scripts by which a store sees whether one server holds all keys, at its first calls of one turn: see `OneServer`. */
const LOOK = 65;

describe('a Redis that has become silent', () => {
  it.each([
    ["a client of the store's own", proxied],
    ["one of the application's, with ioredis's defaults", () => ownClient(proxy.port)],
  ])('costs the first calls their deadline, later calls nothing, and recovers by itself: %s', async (_, target) => {
    const sessions = manage(target() as Target);
    const token = await logIn(sessions);
    proxy.hold();
    const first = await Promise.all(Array.from({ length: 5 }, () => timed(sessions.checkToken(token))));
    for (const { outcome, ms } of first) {
      expect(outcome).toMatchObject(timeout);
      expect(ms).toBeLessThan(TIMEOUT_MS + SLACK_MS);
    }
    await untilSpared(sessions, token);
    const spared = await timed(Promise.allSettled(Array.from({ length: 1000 }, () => sessions.checkToken(token))));
    expect(spared.ms).toBeLessThan(TIMEOUT_MS);
    const { outcome, ms } = await timed(sessions.checkToken(token));
    expect(outcome).toMatchObject({
      ...unavailable,
      reason: { cause: { code: expect.stringMatching(/^ERR_STORE_/) } },
    });
    expect(ms).toBeLessThan(AT_ONCE_MS);
    proxy.pass();
    await until('service is back', async () => (await sessions.checkToken(token)) !== null);
  });

  it('receives almost nothing in that time, so that no queue grows without a socketTimeout', async () => {
    const sessions = manage(ownClient(server.port));
    const token = await logIn(sessions);
    await ask(server, 'CONFIG', 'RESETSTAT');
    await Promise.all([sessions.checkToken(token), sessions.checkToken(token)]);
    await untilRun(2 + LOOK);
    await ask(server, 'CONFIG', 'RESETSTAT');
    server.pause();
    await untilSpared(sessions, token);
    for (let i = 0; i < 50; i++) {
      await Promise.allSettled(Array.from({ length: 100 }, () => sessions.touchToken(token)));
      await sleep(10);
    }
    server.resume();
    await until('service is back', async () => (await sessions.checkToken(token)) !== null);
    // Of 5,000 requests and some seconds of probes, only those before the circuit opened and one probe.
    expect(await callsOf(server, 'evalsha')).toBeLessThan(40);
    expect(await callsOf(server, 'pttl')).toBeLessThan(10);
  });

  it('does not keep a process that only waits for it from ending', async () => {
    const sessions = manage(proxied());
    const token = await logIn(sessions);
    proxy.swallow();
    await untilSpared(sessions, token);
    const { ms } = await timed(sessions.close());
    expect(ms).toBeLessThan(TIMEOUT_MS + SLACK_MS);
  });
});

describe("a client of the application's own", () => {
  it('with a command timeout stops calling a silent Redis, too', async () => {
    const client = new Redis(server.port, '127.0.0.1', { commandTimeout: AT_ONCE_MS });
    client.on('error', () => undefined);
    onClose(() => client.disconnect());
    const sessions = manage(client);
    const token = await logIn(sessions);
    server.pause();
    expect((await timed(sessions.checkToken(token))).outcome).toMatchObject(timeout);
    await untilSpared(sessions, token);
    server.resume();
    await until('service is back', async () => (await sessions.checkToken(token)) !== null);
  });

  it('that is reconnecting is given no command that would wait in its queue', async () => {
    const client = ownClient(server.port);
    const sessions = manage(client, {}, PATIENT);
    const token = await sessions.setToken('ada');
    for (let i = 0; i < 5; i++) {
      client.disconnect(true);
      expect(client.status).toBe('ready');
      const check = sessions.checkToken(token);
      await Promise.resolve();
      expect((client as unknown as { offlineQueue: { length: number } }).offlineQueue.length).toBe(0);
      expect(await check).not.toBeNull();
    }
  });

  it('that sends a login twice starts one session, whose token is valid', async () => {
    const sessions = manage(ownClient(proxy.port), { singleMode: true }, PATIENT);
    await sessions.setToken('ada');
    const lost = proxy.loseReplyTo(/evalsha|eval/i);
    const [token] = await Promise.all([sessions.setToken('ada'), lost]);
    expect(await sessions.listUserToken('ada')).toEqual([token]);
  });

  it('leaves nothing running when the store is closed in the middle of an outage', async () => {
    const sessions = manage(ownClient(proxy.port));
    const token = await logIn(sessions);
    proxy.hold();
    const calls = Array.from({ length: 8 }, () => sessions.checkToken(token));
    await sessions.close();
    await Promise.allSettled(calls);
    await ask(server, 'CONFIG', 'RESETSTAT');
    proxy.pass();
    await sleep(TIMEOUT_MS + 100);
    // Only what had been sent, without a probe.
    expect(await callsOf(server, 'evalsha')).toBeLessThanOrEqual(8);
  });
});

describe('a Redis that is slow', () => {
  it('serves as long as it answers before the deadline', async () => {
    const sessions = manage(proxied(), {}, PATIENT);
    const token = await sessions.setToken('ada');
    proxy.delay(PATIENT.timeoutMs / 20);
    for (let i = 0; i < 5; i++)
      expect((await timed(sessions.touchToken(token))).outcome).toMatchObject({ status: 'fulfilled' });
  });

  it('that answers after the deadline gives a 503, and its late answers change nothing', async () => {
    const sessions = manage(proxied());
    const token = await logIn(sessions);
    proxy.delay(TIMEOUT_MS);
    for (let i = 0; i < 8; i++) {
      const { outcome, ms } = await timed(sessions.checkToken(token));
      expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 503 } });
      expect(ms).toBeLessThan(TIMEOUT_MS + SLACK_MS);
    }
    proxy.pass();
    await until('service is back', async () => (await sessions.checkToken(token)) !== null);
  });

  it.each([
    ['CLIENT PAUSE', ['CLIENT', 'PAUSE', SLOW_MS, 'ALL']],
    ['DEBUG SLEEP', ['DEBUG', 'SLEEP', SLOW_MS / 1000]],
    [
      'a script of another application',
      ['EVAL', 'local t = redis.call("TIME")[1] repeat until redis.call("TIME")[1] - t > 2', 0],
    ],
  ] as const)('for a while, by %s, signs no user out', async (_, command) => {
    const sessions = manage(proxied());
    const tokens = new Map([['ada', await logIn(sessions)]]);
    const traffic = startTraffic(sessions, tokens);
    await traffic.untilServed();
    const over = server.admin.call(...(command as unknown as [string, ...string[]]));
    await traffic.untilFailed();
    await over;
    await traffic.untilServed();
    const report = await traffic.stop();
    expect(report).toMatchObject({ signedOut: 0, mixedUp: 0 });
    expect(report.worstActiveMs).toBeLessThan(TIMEOUT_MS + SLACK_MS);
  });
});

describe('a login that Redis executes after its deadline', () => {
  it('has no effect: it ends no other session', async () => {
    const sessions = manage(proxied(), { singleMode: true });
    const direct = manage(server.url, {}, PATIENT);
    const [ada, grace] = [await logIn(sessions), await logIn(sessions, 'grace')];
    proxy.hold();
    const [alone, replacing] = await Promise.all([
      timed(sessions.setToken('ada')),
      timed(sessions.createSession('grace', { replaces: [grace] })),
    ]);
    expect(alone.outcome).toMatchObject(timeout);
    expect(replacing.outcome).toMatchObject(timeout);
    await ask(server, 'CONFIG', 'RESETSTAT');
    proxy.pass();
    await untilRun(2);
    await until('service is back', async () => (await sessions.checkToken(ada)) !== null);
    expect(await direct.listUserToken('ada')).toEqual([ada]);
    expect(await direct.listUserToken('grace')).toEqual([grace]);
  });

  it('has no effect; nor has a late ban, unban, rotation or re-authentication', async () => {
    const sessions = manage(proxied());
    const direct = manage(server.url, {}, PATIENT);
    const [ada, eve] = [await logIn(sessions), await logIn(sessions, 'eve')];
    await direct.banUser('mallory');
    const before = await direct.checkToken(ada);
    proxy.hold();
    const calls: (() => Promise<unknown>)[] = [
      () => sessions.banUser('eve'),
      () => sessions.unbanUser('mallory'),
      () => sessions.rotateToken(ada),
      () => sessions.reauthenticateToken(ada),
    ];
    for (const { outcome } of await Promise.all(calls.map((call) => timed(call())))) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 503 } });
    }
    await ask(server, 'CONFIG', 'RESETSTAT');
    proxy.pass();
    await untilRun(calls.length);
    await until('service is back', async () => (await sessions.checkToken(eve)) !== null);
    expect(await direct.getBan('eve')).toBeNull();
    expect(await direct.getBan('mallory')).not.toBeNull();
    expect(await direct.listUserToken('ada')).toEqual([ada]);
    expect((await direct.checkToken(ada))?.authenticatedAt).toEqual(before?.authenticatedAt);
  });

  it('costs a second call only when the clock of the Redis is not yet known', async () => {
    const sessions = manage(server.url, {}, PATIENT);
    await ask(server, 'CONFIG', 'RESETSTAT');
    await sessions.setToken('ada');
    expect(await scriptCalls(server)).toBe(2);
    await sessions.setToken('ada');
    await sessions.setToken('grace');
    expect(await scriptCalls(server)).toBe(4);
  });
});

describe('a reply that is lost after the command was executed', () => {
  const verbs: [string, (sessions: TokenManager<never>, token: string) => Promise<unknown>][] = [
    ['setToken', (sessions) => sessions.setToken('ada')],
    ['touchToken', (sessions, token) => sessions.touchToken(token)],
    ['refreshToken', (sessions, token) => sessions.refreshToken(token, 500)],
    ['deleteToken', (sessions, token) => sessions.deleteToken(token)],
    ['deleteUserToken', (sessions) => sessions.deleteUserToken('ada')],
    ['deleteSession', (sessions, token) => sessions.deleteSession('ada', idOf(token))],
    ['banUser', (sessions) => sessions.banUser('ada')],
  ];

  it.each(verbs)('of %s gives a 503 at once, and the call is sent once', async (name, call) => {
    const sessions = manage(proxied(), {}, PATIENT);
    const direct = manage(server.url, {}, PATIENT);
    const token = await sessions.setToken('ada');
    await sessions.checkToken(token);
    const lost = proxy.loseReplyTo(/evalsha|eval/i);
    await ask(server, 'CONFIG', 'RESETSTAT');
    const [{ outcome, ms }] = await Promise.all([timed(call(sessions, token)), lost]);
    expect(outcome).toMatchObject(unavailable);
    expect(ms).toBeLessThan(PATIENT.timeoutMs / 2);
    await until('service is back', async () => (await sessions.listUserToken('grace')).length === 0);
    // The listing differed.
    expect(await scriptCalls(server)).toBe(2);
    // Redis has run the command, but the reply is lost: no client has the token of the login.
    const live = await direct.listUserToken('ada');
    expect(live.length).toBe(name === 'setToken' ? 2 : /^delete|^ban/.test(name) ? 0 : 1);
  });
});

describe('a rotated token', () => {
  it('whose request Redis executes after the deadline is not taken for a theft', async () => {
    const sessions = manage(proxied(), { rotationGrace: 2 });
    const direct = manage(server.url, { rotationGrace: 2 }, PATIENT);
    const token = await logIn(sessions);
    const next = (await direct.rotateToken(token)) as string;
    expect(await direct.touchToken(next)).not.toBeNull();
    expect(await direct.touchToken(token)).not.toBeNull();
    proxy.hold();
    const calls: (() => Promise<unknown>)[] = [
      () => sessions.touchToken(token),
      () => sessions.checkToken(token),
      () => sessions.refreshToken(token),
      () => sessions.rotateToken(token),
    ];
    const outcomes = await Promise.all(calls.map((call) => timed(call())));
    for (const { outcome } of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 503 } });
    await sleep(1100);
    proxy.pass();
    await until('service is back', async () => (await sessions.checkToken(next)) !== null);
    await sleep(50);
    expect(await direct.checkToken(next)).not.toBeNull();
    expect(await direct.inspectToken(token)).toEqual({ session: null, reason: 'reused' });
    expect(await direct.checkToken(next)).toBeNull();
  });
});

describe('a rotation whose answer is lost', () => {
  it.each([
    ['at once', () => proxy.loseReplyTo(/evalsha|eval/i)],
    ['by a silence', async () => proxy.swallowReplies()],
  ])('%s costs nothing: the user goes on with the token they have', async (_, lose) => {
    const sessions = manage(proxied(), { rotationGrace: 1 });
    const direct = manage(server.url, { rotationGrace: 1 }, PATIENT);
    const token = await direct.setToken('ada', undefined, { device: 'web' });
    await untilServing(sessions, token);
    await ask(server, 'CONFIG', 'RESETSTAT');
    const lost = lose();
    const [{ outcome }] = await Promise.all([timed(sessions.rotateToken(token)), lost]);
    expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 503 } });
    expect(await scriptCalls(server)).toBe(1);
    proxy.pass();
    await sleep(1100);
    expect(await direct.touchToken(token)).toMatchObject({ attributes: { device: 'web' } });
    await until('service is back', () => sessions.touchToken(token));
  });
});

describe('scripts that are flushed again and again', () => {
  it('fail no call', async () => {
    const sessions = manage(server.url, {}, PATIENT);
    const tokens = new Map([['ada', await sessions.setToken('ada')]]);
    const traffic = startTraffic(sessions, tokens, { everyMs: 2 });
    for (let i = 0; i < 100; i++) await ask(server, 'SCRIPT', 'FLUSH');
    await traffic.untilServed();
    expect(await traffic.stop()).toMatchObject({ failed: {}, signedOut: 0, mixedUp: 0 });
  });
});

describe('a master that becomes a replica while we are connected', () => {
  let other: RedisServer;
  let demoted: RedisServer;

  beforeEach(async () => {
    [demoted, other] = await Promise.all([startRedis(), startRedis({ 'repl-diskless-sync-delay': '0' })]);
    onClose(() => demoted.stop());
    onClose(() => other.stop());
  });

  it('is not trusted, whatever data it has, until it is a master again', async () => {
    const sessions = manage(demoted.url, { slideEvery: 3600 });
    const patient = manage(demoted.url, { slideEvery: 3600 }, PATIENT);
    const [token, ended] = [await patient.setToken('ada'), await patient.setToken('grace', 1)];
    const former = await patient.setToken('joan');
    await patient.rotateToken(former);
    const store = new RedisStore(demoted.url, { timeoutMs: TIMEOUT_MS, ...prefixes });
    onClose(() => store.close());
    const [tag, sid] = token.split('.') as [string, string];
    await untilServing(sessions, token);
    await sleep(1010);
    // A replica that can't reach its master keeps what it had; one that can takes over what the master has: nothing.
    for (const master of [
      ['127.0.0.1', '1'],
      ['127.0.0.1', String(other.port)],
    ] as const) {
      await ask(demoted, 'REPLICAOF', ...master);
      await until('it follows', async () => (await askInfo(demoted, 'INFO', 'replication')).role === 'slave');
      if (master[1] !== '1') {
        await until(
          'it has taken over',
          async () => (await askInfo(demoted, 'INFO', 'replication')).master_link_status === 'up',
        );
      }
      const calls: (() => Promise<unknown>)[] = [
        () => sessions.checkToken(token),
        () => sessions.touchToken(token),
        () => sessions.checkToken(ended),
        () => sessions.touchToken(ended),
        () => sessions.refreshToken(token),
        () => sessions.listUserToken('ada'),
        () => sessions.listUserToken('nobody'),
        () => sessions.setToken('ada'),
        () => sessions.deleteToken(token),
        () => sessions.deleteUserToken('ada'),
        () => sessions.deleteUser('ada'),
        () => sessions.inspectToken(token),
        () => sessions.inspectToken(ended),
        () => sessions.rotateToken(token),
        () => sessions.rotateToken(ended),
        () => sessions.checkToken(former),
        () => sessions.rotateToken(former),
        () => sessions.reauthenticateToken(token),
        () => sessions.reauthenticateToken(ended),
        () => sessions.deleteSession('ada', 'x'.repeat(22)),
        () => sessions.banUser('nobody'),
        () => sessions.unbanUser('ada'),
        () => sessions.unbanUser('nobody'),
        () => sessions.getBan('ada'),
        () => sessions.getBan('nobody'),
        // Also where the session with this id is live, as after a login that was sent twice.
        () => store.create(tag, newSession('ada', { sid })),
        () => store.tags()[Symbol.asyncIterator]().next(),
      ];
      for (const call of calls) {
        const { outcome, ms } = await timed(call());
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_STORE_UNAVAILABLE' } });
        expect(ms).toBeLessThan(TIMEOUT_MS + SLACK_MS);
      }
    }
    await until('health says so', async () => {
      const { status, reasons } = await sessions.health();
      return status === 'down' && reasons.some((reason) => /is a replica/.test(reason));
    });
    await ask(demoted, 'REPLICAOF', 'NO', 'ONE');
    await until('service is back', async () => (await sessions.checkToken(await sessions.setToken('ada'))) !== null);
  });

  it('is left for a new connection, which may reach another server, at a limited rate', async () => {
    const sessions = manage(demoted.url);
    const token = await logIn(sessions, 'ada', demoted.url);
    await ask(demoted, 'REPLICAOF', '127.0.0.1', '1');
    const connections = async () => Number((await askInfo(demoted, 'INFO', 'stats')).total_connections_received);
    const before = await connections();
    const begin = performance.now();
    while (performance.now() - begin < 900) {
      await timed(sessions.touchToken(token));
      await sleep(5);
    }
    const made = (await connections()) - before;
    expect(made).toBeGreaterThanOrEqual(1);
    // One a second.
    expect(made).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - begin) / 1000));
  });
});

describe('a Redis that refuses to write', () => {
  it('for lack of replicas gives an error that says so', async () => {
    const lone = await startRedis({ 'min-replicas-to-write': '1' });
    onClose(() => lone.stop());
    const sessions = manage(lone.url, {}, PATIENT);
    await ask(lone, 'CONFIG', 'SET', 'min-replicas-to-write', '0');
    const token = await sessions.setToken('ada');
    await ask(lone, 'CONFIG', 'SET', 'min-replicas-to-write', '1');
    for (const call of [sessions.touchToken(token), sessions.checkToken(token), sessions.setToken('ada')]) {
      await expect(call).rejects.toMatchObject({
        code: 'ERR_STORE_UNAVAILABLE',
        message: expect.stringContaining('too few replicas'),
      });
    }
    expect(await sessions.health()).toMatchObject({
      status: 'down',
      reasons: [expect.stringContaining('too few replicas')],
    });
  });
});

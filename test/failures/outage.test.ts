import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import { createRedisClient, RedisStore, TokenManager } from 'tokensession';
import { mendConnection } from '../../src/redis/client/mended-connection';
import { extendIfReadLate } from '../../src/redis/connection/deadline-scripts';
import { type Detail, FRAMEWORKS, listen } from '../support/apps';
import { CertificateAuthority } from '../support/certificates';
import { closeAfterEach } from '../support/closing';
import { runProgram } from '../support/programs';
import { freePort, type RedisServer, startRedis } from '../support/redis-server';
import { idOf } from '../support/session-id';
import { startStopwatch } from '../support/stopwatch';
import { PATIENT, SECRET } from '../support/stores';
import { until } from '../support/until';

const TIMEOUT_MS = 1000;
/** The margin of a call beyond its deadline on a busy machine; shorter than a deadline. */
const SLACK_MS = 900;

const closing = closeAfterEach();

async function redis(): Promise<RedisServer> {
  const server = await startRedis({ save: '3600 1' });
  closing(() => server.stop());
  return server;
}

function manage(target: ConstructorParameters<typeof RedisStore>[0], timeoutMs = TIMEOUT_MS) {
  const manager = new TokenManager<Detail>({
    store: new RedisStore(target, { timeoutMs }),
    secret: SECRET,
  });
  closing(() => manager.close());
  return manager;
}

/** The outcome of a call, which may not take longer than promised. */
async function timed<Result>(call: Promise<Result>) {
  const elapsedMs = startStopwatch();
  const [outcome] = await Promise.allSettled([call]);
  const ms = elapsedMs();
  expect(ms).toBeLessThan(TIMEOUT_MS + SLACK_MS);
  return { outcome, ms };
}

const unavailable = {
  status: 'rejected',
  reason: { name: 'SessionError', code: 'ERR_STORE_UNAVAILABLE', status: 503 },
};
const timeout = { status: 'rejected', reason: { name: 'SessionError', code: 'ERR_STORE_TIMEOUT', status: 503 } };

/** Every call to the store, but those that load user info. */
const calls = (sessions: TokenManager<Detail>, token: string): (() => Promise<unknown>)[] => [
  () => sessions.setToken('ada'),
  () => sessions.createSession('ada'),
  () => sessions.refreshToken(token),
  () => sessions.deleteToken(token),
  () => sessions.checkToken(token),
  () => sessions.touchToken(token),
  () => sessions.inspectToken(token),
  () => sessions.rotateToken(token),
  () => sessions.reauthenticateToken(token),
  () => sessions.sessionData(token).getAll(),
  () => sessions.sessionData(token).set({ cart: 'x' }),
  () => sessions.listUserToken('ada'),
  () => sessions.listUserSessions('ada'),
  () => sessions.deleteUserToken('ada'),
  () => sessions.deleteSession('ada', idOf(token)),
  () => sessions.banUser('ada'),
  () => sessions.unbanUser('ada'),
  () => sessions.getBan('ada'),
  () => sessions.deleteUser('ada'),
];

/** A token that no short timeout has kept from being made. */
const tokenFrom = (server: RedisServer, userId = 'ada') => manage(server.url, PATIENT.timeoutMs).setToken(userId);

async function untilBack(sessions: TokenManager<Detail>, token: string) {
  for (let tries = 0; tries < 1500; tries++) {
    const [outcome] = await Promise.allSettled([sessions.checkToken(token)]);
    if (outcome.status === 'fulfilled') return outcome.value;
    await sleep(20);
  }
  throw new Error('service did not come back');
}

describe('Redis down at boot', () => {
  it('the process starts, every call is a 503 at once with the reason, and service returns by itself', async () => {
    const server = await redis();
    const token = await tokenFrom(server);
    await server.admin.save();
    await server.kill();

    const sessions = manage(server.url, PATIENT.timeoutMs);
    for (const call of calls(sessions, token)) {
      const elapsedMs = startStopwatch();
      const [outcome] = await Promise.allSettled([call()]);
      expect(outcome).toMatchObject(unavailable);
      expect(elapsedMs()).toBeLessThan(PATIENT.timeoutMs / 2);
    }
    await expect(sessions.checkToken(token)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } });
    await server.restart();
    expect(await untilBack(sessions, token)).toMatchObject({ user: { id: 'ada' } });
  });

  it('a manager that never connected closes in time, and refuses later calls', async () => {
    const sessions = manage({ host: '127.0.0.1', port: await freePort() });
    await timed(sessions.close());
    await expect(sessions.setToken('ada')).rejects.toMatchObject({ message: 'the store is closed' });
  });
});

describe('a script that closes its manager', () => {
  it.each(['no', 'yes'])('ends by itself, with Redis up, unreachable or paused; near cache: %s', async (CACHE) => {
    const run = (url: string, timeoutMs = 10_000) =>
      runProgram('closing.ts', { REDIS_TARGET: JSON.stringify(url), TIMEOUT_MS: String(timeoutMs), CACHE });
    const server = await redis();
    const runs = [run(server.url), run(`redis://127.0.0.1:${await freePort()}`)];
    const printed = (await Promise.all(runs)).map(({ stdout }) => stdout);
    expect(printed).toEqual(['stored\n', 'ERR_STORE_UNAVAILABLE\n']);
    server.pause();
    expect((await run(server.url, 500)).stdout).toMatch(/^ERR_STORE_(TIMEOUT|UNAVAILABLE)\n$/);
  });

  it.each([
    ['one Redis', { host: '127.0.0.1', port: 1 }],
    ['Sentinel', { sentinels: [{ host: '127.0.0.1', port: 1 }], name: 'sessions' }],
    ['a Cluster', { cluster: [{ host: '127.0.0.1', port: 1 }] }],
  ])('does not wait for connections to %s that are already broken', async (_, target) => {
    const longerThanAProgramMayTake = { TIMEOUT_MS: '120000', CACHE: 'yes' };
    const run = runProgram('closing.ts', {
      REDIS_TARGET: JSON.stringify(target),
      ...longerThanAProgramMayTake,
    });
    expect((await run).stdout).toBe('ERR_STORE_UNAVAILABLE\n');
  });
});

it.each([
  ['ioredis 6', Redis],
  ['ioredis 5', Redis5 as unknown as typeof Redis],
])(
  'a connection that is closed while an answer is due clears the timer of its socketTimeout: %s',
  async (_, Client) => {
    const server = await redis();
    const client = mendConnection(new Client(server.url, { socketTimeout: 60_000, retryStrategy: () => null }));
    await client.ping();
    server.pause();
    client.ping().catch(() => undefined);
    const timer = () =>
      (client as unknown as { socketTimeoutTimer?: NodeJS.Timeout & { _destroyed: boolean } }).socketTimeoutTimer;
    await until('the answer is waited for', timer);
    const running = timer();
    client.stream.destroy();
    await once(client, 'end');
    server.resume();
    expect(running?._destroyed).toBe(true);
  },
);

describe('a process', () => {
  it('in which logins, checks, logouts and kicks fail repeatedly has no unhandled rejection', async () => {
    const server = await redis();
    const run = runProgram('lasting.ts', { REDIS_URL: server.url });
    await until('it has begun', async () => (await server.admin.info('commandstats')).includes('eval'));
    for (let i = 0; i < 3; i++) {
      server.pause();
      await sleep(450);
      server.resume();
      await server.kill();
      await sleep(50);
      await server.restart();
      await sleep(100);
    }
    expect((await run).stdout).toBe('went on\n');
  });
});

describe('the first call', () => {
  it('waits for the connection that is being set up, without a warm-up', async () => {
    const server = await redis();
    const sessions = manage(server.url, PATIENT.timeoutMs);
    expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();
  });

  it('after a cut connection waits for the next one, instead of failing', async () => {
    const server = await redis();
    const client = new Redis(server.url);
    client.on('error', () => undefined);
    closing(() => client.disconnect());
    for (const sessions of [manage(server.url, PATIENT.timeoutMs), manage(client, PATIENT.timeoutMs)]) {
      const token = await sessions.setToken('ada');
      await server.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await sleep(10);
      expect(await sessions.checkToken(token)).toMatchObject({ user: { id: 'ada' } });
    }
  });

  it('that timed out is not sent later when the connection is there', async () => {
    const server = await redis();
    const token = await tokenFrom(server);
    server.pause();
    const sessions = manage(server.url);
    expect((await timed(sessions.deleteToken(token))).outcome).toMatchObject(timeout);
    server.resume();
    expect(await untilBack(sessions, token)).not.toBeNull();
    await sleep(50);
    expect(await sessions.checkToken(token)).not.toBeNull();
  });

  it('waits no longer than its deadline for a server that accepts the connection and is silent', async () => {
    const silent: Server = createServer().listen(0, '127.0.0.1');
    const sockets: Socket[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    await once(silent, 'listening');
    closing(async () => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const sessions = manage({ host: '127.0.0.1', port: (silent.address() as { port: number }).port });
    const { outcome } = await timed(sessions.setToken('ada'));
    expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 503 } });
  });
});

describe('a Redis that is killed', () => {
  it('makes every call a 503 in time; none is sent twice or late, and service returns by itself', async () => {
    const server = await redis();
    const sessions = manage(server.url);
    const token = await tokenFrom(server);
    await untilBack(sessions, token);
    await server.admin.save();
    await server.kill();
    for (const call of calls(sessions, token)) expect((await timed(call())).outcome).toMatchObject(unavailable);
    await server.restart();
    expect(await untilBack(sessions, token)).not.toBeNull();
    expect(await sessions.listUserToken('ada')).toEqual([token]);
  });

  it('settles the calls in flight in time', async () => {
    const server = await redis();
    const sessions = manage(server.url);
    const token = await tokenFrom(server);
    await untilBack(sessions, token);
    server.pause();
    const under = Array.from({ length: 50 }, () => timed(sessions.touchToken(token)));
    await sleep(20);
    await server.kill();
    for (const { outcome } of await Promise.all(under))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 503 } });
  });
});

describe('a Redis that is paused', () => {
  it('makes every call a 503 at its deadline, and service returns by itself', async () => {
    const server = await redis();
    const sessions = manage(server.url);
    const [token, other] = [await tokenFrom(server), await tokenFrom(server, 'grace')];
    await untilBack(sessions, token);
    server.pause();
    const outcomes = await Promise.all(calls(sessions, token).map((call) => timed(call())));
    for (const { outcome } of outcomes) expect(outcome).toMatchObject(timeout);
    server.resume();
    expect(await untilBack(sessions, other)).not.toBeNull();
  });

  it('makes parallel calls that load the info of one user a 503 at that deadline, too', async () => {
    const server = await redis();
    const sessions = new TokenManager<Detail>({
      store: new RedisStore(server.url, { timeoutMs: TIMEOUT_MS }),
      secret: SECRET,
      getUserInfo: (name) => ({ name }),
    });
    closing(() => sessions.close());
    await until('it serves', () => sessions.addUser('ada'));
    server.pause();
    const loads = [sessions.createSession('ada'), sessions.createSession('ada'), sessions.addUser('ada')];
    const outcomes = await Promise.all(loads.map((load: Promise<unknown>) => timed(load)));
    for (const { outcome } of outcomes) expect(outcome).toMatchObject(timeout);
  });

  it('causes no harm by late answers: a refresh and a touch do not outlive a logout', async () => {
    const server = await redis();
    const [slow, quick] = [manage(server.url), manage(server.url)];
    const token = await tokenFrom(server);
    for (const sessions of [slow, quick]) await untilBack(sessions, token);
    server.pause();
    const late = [slow.refreshToken(token, 1000), slow.touchToken(token), slow.refreshToken(token, 1000)];
    const logout = quick.deleteToken(token);
    await Promise.allSettled([...late, logout]);
    server.resume();
    await untilBack(quick, token);
    await quick.deleteToken(token);
    await sleep(50);
    expect(await quick.checkToken(token)).toBeNull();
    expect(await server.admin.keys('*')).toEqual([]);
  });

  it("delays a client of the application's own no longer, and fills no queue of ioredis's defaults", async () => {
    const server = await redis();
    const client = new Redis(server.url);
    client.on('error', () => undefined);
    closing(() => client.disconnect());
    const sessions = manage(client);
    const token = await tokenFrom(server);
    await untilBack(sessions, token);
    server.pause();
    expect((await timed(sessions.touchToken(token))).outcome).toMatchObject(timeout);
    server.resume();
    await untilBack(sessions, token);
    await server.kill();
    await new Promise((resolve) => client.once('reconnecting', resolve));
    expect((await timed(sessions.deleteToken(token))).outcome).toMatchObject({
      status: 'rejected',
      reason: { status: 503 },
    });
    const isReady = new Promise((resolve) => client.once('ready', resolve));
    await server.restart();
    await isReady;
    // Behind all commands that a queue would have sent.
    await client.ping();
    expect((await server.admin.info('commandstats')).includes('cmdstat_eval')).toBe(false);
  });
});

describe('a client of createRedisClient', () => {
  it('replaces a silent connection, queues nothing and sends nothing twice', async () => {
    const server = await redis();
    const client = createRedisClient(server.url, { timeoutMs: TIMEOUT_MS });
    client.on('error', () => undefined);
    closing(() => client.disconnect());
    await new Promise((resolve) => client.once('ready', resolve));
    server.pause();
    const closed = new Promise((resolve) => client.once('close', resolve));
    const elapsedMs = startStopwatch();
    const late = client.incr('counter').catch((error: Error) => error.message);
    await closed;
    expect(elapsedMs()).toBeLessThan(2 * TIMEOUT_MS + SLACK_MS);
    expect(await late).toMatch(/max retries per request/);
    await expect(client.incr('counter')).rejects.toThrow('enableOfflineQueue options is false');
    server.resume();
    await new Promise((resolve) => client.once('ready', resolve));
    // Redis runs the commands that had reached it; the client sends none again.
    await sleep(50);
    expect(await client.get('counter')).toBe('1');
  });

  it('gives up an unanswered attempt to connect', () => {
    const client = createRedisClient('redis://127.0.0.1:1', { timeoutMs: 123 });
    client.on('error', () => undefined);
    expect(client.options).toMatchObject({ connectTimeout: 123, disconnectTimeout: 123, socketTimeout: 246 });
    client.disconnect();
  });
});

describe('a process that was suspended', () => {
  it('uses an answer that has arrived in the meantime, instead of timing out', async () => {
    const server = await redis();
    const sessions = manage(server.url);
    const token = await tokenFrom(server);
    await untilBack(sessions, token);
    const check = sessions.checkToken(token);
    await nextTurn();
    hold();
    expect(await check).not.toBeNull();
  });

  /** Shorter, since this process is suspended for a multiple of it. */
  const HELD_TIMEOUT_MS = 500;

  it.each([
    [HELD_TIMEOUT_MS + 50, 'made'],
    [3 * HELD_TIMEOUT_MS, 'made'],
    [HELD_TIMEOUT_MS + 50, 'sent'],
    [3 * HELD_TIMEOUT_MS, 'sent'],
  ])('for %i ms fails no call that was %s just before', async (ms, state) => {
    const server = await redis();
    const sessions = manage(server.url, HELD_TIMEOUT_MS);
    const patient = manage(server.url, PATIENT.timeoutMs);
    const tokens = await Promise.all(['ada', 'grace', 'joan', 'kay'].map((user) => patient.setToken(user)));
    const [touched, confirmed, rotated, kicked] = tokens as [string, string, string, string];
    await untilBack(sessions, kicked);
    const answers = [
      sessions.setToken('bob'),
      sessions.touchToken(touched),
      sessions.reauthenticateToken(confirmed),
      sessions.banUser('mallory').then(() => sessions.unbanUser('mallory')),
      sessions.rotateToken(rotated),
      sessions.deleteUserToken('kay'),
    ];
    if (state === 'sent') await nextTurn();
    hold(ms);
    for (const answer of await Promise.all<unknown>(answers)) expect(answer).toBeTruthy();
  });

  it('ends a session for a reuse, which takes a second call', async () => {
    const server = await redis();
    const store = new RedisStore(server.url, { timeoutMs: HELD_TIMEOUT_MS });
    const sessions = new TokenManager<Detail>({ store, secret: SECRET, rotationGrace: 0 });
    closing(() => sessions.close());
    await untilBack(sessions, await tokenFrom(server));
    for (let i = 0; i < 5; i++) {
      const token = await sessions.setToken('ada');
      await sessions.touchToken((await sessions.rotateToken(token)) ?? '');
      await sleep(5);
      const inspection = sessions.inspectToken(token);
      await nextTurn();
      hold(3 * HELD_TIMEOUT_MS);
      expect(await inspection).toEqual({ session: null, reason: 'reused' });
    }
  });

  it('gives a call its time again, but not because Redis was slow and a timer was late', () => {
    for (const [lateMs, expected] of [
      [-1, 1000],
      [3, 1000],
      [50, 1550],
    ] as const) {
      const call = { deadline: 1000 };
      const clock = jest.spyOn(performance, 'now').mockReturnValue(1000 + lateMs);
      extendIfReadLate(call, 500);
      clock.mockRestore();
      expect(call.deadline).toBe(expected);
    }
  });

  it.each(['made', 'sent'])('is healthy, where its look at Redis was %s just before', async (state) => {
    const server = await redis();
    const sessions = manage(server.url, HELD_TIMEOUT_MS);
    await untilBack(sessions, await tokenFrom(server));
    const health = sessions.health();
    if (state === 'sent') await nextTurn();
    hold(3 * HELD_TIMEOUT_MS);
    expect(await health).toMatchObject({ status: expect.stringMatching(/up|degraded/) });
  });

  it('fails no call that could not be sent in that time', async () => {
    const server = await redis();
    const sessions = manage(server.url);
    const token = await tokenFrom(server);
    await untilBack(sessions, token);
    const check = sessions.checkToken(token);
    hold();
    expect(await check).not.toBeNull();
    // Calls that could be sent may still time out.
    server.pause();
    const elapsedMs = startStopwatch();
    await expect(sessions.checkToken(token)).rejects.toMatchObject({ code: 'ERR_STORE_TIMEOUT' });
    expect(elapsedMs()).toBeLessThan(TIMEOUT_MS + SLACK_MS);
    server.resume();
  });

  /** Longer, since a TLS handshake has to end in it on a busy machine. */
  const CONNECT_MS = 2000;

  it.each(['TCP', 'TLS'])(
    'for longer than a connection may take to be set up gives up no attempt: %s',
    async (kind) => {
      const authority = await CertificateAuthority.create();
      closing(() => authority.remove());
      const tls = kind === 'TLS' && { certificate: await authority.issue('server', '127.0.0.1'), isMutual: false };
      const server = await startRedis({}, { ...(tls && { tls }) });
      closing(() => server.stop());
      const options = { ...(tls && { tls: { ca: authority.cert } }) };
      const client = createRedisClient(server.url, { timeoutMs: CONNECT_MS, ...options });
      const reported = jest.fn();
      client.on('error', reported);
      closing(() => client.disconnect());
      const sessions = manage(client, PATIENT.timeoutMs);
      // No turn of the event loop, in which the connection would be noticed.
      for (let i = 0; i < 20; i++) await new Promise<void>((resolve) => process.nextTick(resolve));
      expect(client.stream.connecting).toBe(true);
      hold(CONNECT_MS + 500);
      expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();
      expect(reported).not.toHaveBeenCalled();
    },
  );

  it('for longer than the password function may take gives up no attempt to connect', async () => {
    const server = await startRedis({ requirepass: 'open sesame' });
    closing(() => server.stop());
    const password = async () => {
      await readFile(__filename);
      return 'open sesame';
    };
    const client = createRedisClient({ host: '127.0.0.1', port: server.port, password }, { timeoutMs: CONNECT_MS });
    const reported = jest.fn();
    client.on('error', reported);
    closing(() => client.disconnect());
    const sessions = manage(client, PATIENT.timeoutMs);
    hold(CONNECT_MS + 500);
    expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();
    expect(reported).not.toHaveBeenCalled();
  });

  /** Blocks the event loop, without keeping a core from others. */
  function hold(ms = TIMEOUT_MS + 50): void {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  }
});

describe('more calls than this process can get answers for in time', () => {
  /** More than may be in flight and wait. */
  const LOGINS = 20_000;

  it('are refused without being sent: no failed login is stored', async () => {
    const server = await redis();
    const sessions = manage(server.url, PATIENT.timeoutMs);
    await sessions.setToken('first');
    const elapsedMs = startStopwatch();
    let lastRefusalMs = 0;
    const outcomes = await Promise.all(
      Array.from({ length: LOGINS }, (_, index) =>
        sessions.setToken(`user-${index}`).then(
          () => 'stored',
          (error) => {
            lastRefusalMs = Math.max(lastRefusalMs, elapsedMs());
            return `${error.status} ${error.code} ${error.headers['Retry-After']}`;
          },
        ),
      ),
    );
    // Early: long before these calls would time out.
    expect(lastRefusalMs).toBeLessThan(PATIENT.timeoutMs);
    expect(new Set(outcomes)).toEqual(new Set(['stored', '503 ERR_STORE_UNAVAILABLE 1']));
    expect(await server.admin.dbsize()).toBe(1 + outcomes.filter((outcome) => outcome === 'stored').length);
  });

  it('do not open the circuit: the next call is served', async () => {
    const server = await redis();
    const sessions = manage(server.url, PATIENT.timeoutMs);
    const token = await sessions.setToken('ada');
    const checks = Array.from({ length: LOGINS }, () => sessions.checkToken(token));
    const refused = (await Promise.allSettled(checks)).filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    expect(await sessions.checkToken(token)).not.toBeNull();
  });

  it('delay the end of the process no longer than it takes to answer them', async () => {
    const server = await redis();
    const sessions = manage(server.url, 60_000);
    const token = await sessions.setToken('ada');
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    await Promise.all(Array.from({ length: 3000 }, () => sessions.checkToken(token)));
    // An uncleared timer of a call would stay for a minute.
    await until('no timer of a call is left', () => timers() <= before);
  });

  it('do not block later calls while Redis is silent', async () => {
    const server = await redis();
    const sessions = manage(server.url);
    const token = await tokenFrom(server);
    await untilBack(sessions, token);
    server.pause();
    // More than may be in flight: those that wait for others have the same deadline.
    const checks = Array.from({ length: 3000 }, () => timed(sessions.checkToken(token)));
    const outcomes = await Promise.all(checks);
    server.resume();
    for (const { outcome } of outcomes) expect(outcome.status).toBe('rejected');
    expect(await untilBack(sessions, token)).not.toBeNull();
  });
});

describe('a network that fails', () => {
  it('during the answer to a login gives a 503, and no client can use the stored session', async () => {
    const server = await redis();
    const proxy = createServer((socket) => {
      const upstream = connect(server.port, '127.0.0.1');
      socket.pipe(upstream);
      upstream.on('data', (chunk) => {
        // Only the reply of our script contains a record.
        if (/\d{13}:\d{13}/.test(chunk.toString())) {
          socket.destroy();
          upstream.destroy();
        } else socket.write(chunk);
      });
      for (const end of [socket, upstream]) end.on('error', () => end.destroy());
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    closing(() => proxy.close());
    const cut = manage({ host: '127.0.0.1', port: (proxy.address() as { port: number }).port });
    expect((await timed(cut.setToken('ada'))).outcome).toMatchObject(unavailable);
    // Sent and run once: not again after the reconnect.
    expect(await manage(server.url).listUserSessions('ada')).toHaveLength(1);
  });
});

it('an application on any host answers 503 in time while Redis is down, and continues afterwards', async () => {
  const server = await redis();
  const apps = await Promise.all(
    Object.entries(FRAMEWORKS).map(async ([host, build]) => {
      const manager = manage(server.url);
      const token = await tokenFrom(server);
      await untilBack(manager, token);
      const app = await listen(build(manager, {}));
      closing(app.close);
      const me = (headers: Record<string, string>) => fetch(`${app.url}/me`, { headers });
      return { host, manager, token, me: () => me({ cookie: `session=${token}` }), meAsStranger: () => me({}) };
    }),
  );
  type App = (typeof apps)[number];
  /** What each host gives, by its name. */
  const ofEach = async <Result>(ask: (app: App) => Promise<Result>) =>
    Object.fromEntries(await Promise.all(apps.map(async (app) => [app.host, await ask(app)] as const)));
  const onEach = <Result>(result: Result) => Object.fromEntries(apps.map(({ host }) => [host, result]));
  const seen = async ({ outcome }: { outcome: PromiseSettledResult<Response> }) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    const { status, headers } = outcome.value;
    return { status, retryAfter: headers.get('retry-after'), cookies: headers.getSetCookie() };
  };
  expect(await ofEach(async ({ me }) => (await me()).status)).toEqual(onEach(200));
  await server.admin.save();

  server.pause();
  const paused = await ofEach(async ({ me }) => seen(await timed(me())));
  expect(paused).toEqual(onEach({ status: 503, retryAfter: '1', cookies: [] }));
  server.resume();
  await server.kill();
  const killed = await ofEach(async ({ me }) => seen(await timed(me())));
  expect(killed).toEqual(onEach({ status: 503, retryAfter: '1', cookies: [] }));
  expect(await ofEach(async ({ meAsStranger }) => (await meAsStranger()).status)).toEqual(onEach(401));
  await server.restart();
  await Promise.all(apps.map(({ manager, token }) => untilBack(manager, token)));
  expect(await ofEach(async ({ me }) => (await me()).status)).toEqual(onEach(200));
});

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { createRedisClient, RedisStore, type RedisStoreOptions, TokenManager } from 'tokensession';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { tagOf } from '../../src/token/token';
import { FRAMEWORKS, listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { type Route, startBridge } from '../support/express-session-app';
import { ask, askInfo, type RedisServer, startRedis } from '../support/redis-server';
import { idOf } from '../support/session-id';
import { startStopwatch } from '../support/stopwatch';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { answered, until } from '../support/until';

const TIMEOUT_MS = 2500;
/** How long a revocation waits for replicas that will not confirm it. */
const WAIT_MS = 1000;
/** What a call may take beyond its deadline on a busy machine; less than a second deadline. */
const SLACK_MS = 900;

const onClose = closeAfterEach();
const notReplicated = { name: 'SessionError', code: 'ERR_NOT_REPLICATED', status: 503 };

describe('a revocation with durability', () => {
  let master: RedisServer;
  let replicas: RedisServer[];
  let prefixes: ReturnType<typeof randomPrefixes>;

  beforeAll(async () => {
    master = await startRedis({ 'repl-diskless-sync-delay': '0' });
    const replicaof = { replicaof: [['127.0.0.1', String(master.port)]] };
    replicas = await Promise.all([startRedis(replicaof), startRedis(replicaof)]);
  });
  afterAll(() => Promise.all([master, ...replicas].map((server) => server?.stop())));
  beforeEach(async () => {
    for (const replica of replicas) replica.resume();
    prefixes = randomPrefixes();
    await until('both replicas are linked', async () => {
      const links = await Promise.all(replicas.map((replica) => askInfo(replica, 'INFO', 'replication')));
      return links.every((link) => link.master_link_status === 'up');
    });
  });

  function manage(options: RedisStoreOptions = { durability: { replicas: 1, timeoutMs: WAIT_MS } }) {
    const store = new RedisStore(master.url, { timeoutMs: TIMEOUT_MS, ...prefixes, ...options });
    const manager = new TokenManager<{ name: string }>({ store, secret: SECRET });
    onClose(() => manager.close());
    return manager;
  }

  /** For revocations that replicas confirm, however busy the machine is. */
  const confirming = (replicas = 1) => manage({ ...PATIENT, durability: { replicas, timeoutMs: PATIENT.timeoutMs } });

  const keyOf = (token: string) => `${prefixes.tokenKeyPrefix}:{${token.split('.')[0]}}`;
  const keyOfUser = (userId: string) => `${prefixes.tokenKeyPrefix}:{${tagOf(userId)}}`;
  const isOn = async (replica: RedisServer, token: string) =>
    /^\d/.test((await ask<string | null>(replica, 'HGET', keyOf(token), idOf(token))) ?? '');

  it('confirms a session that was moved here, before its former record may be deleted', async () => {
    const store = new RedisStore(master.url, {
      timeoutMs: TIMEOUT_MS,
      ...prefixes,
      durability: { replicas: 1, timeoutMs: WAIT_MS },
    });
    onClose(() => store.close());
    const session = {
      userId: 'ada',
      sid: 'a'.repeat(22),
      ttlMs: 60_000,
      absoluteTtlMs: 0,
      attributes: { moved: true as const },
      provedAt: 0,
      maxSessions: 9,
      maxOnDevice: 0,
      onLimit: 'replace' as const,
      replaces: [],
    };
    for (const replica of replicas) replica.pause();
    const message = 'the session was moved, but too few replicas have it';
    await expect(store.create(tagOf('ada'), session)).rejects.toMatchObject({ ...notReplicated, message });
    // Still so when it is tried again, although it is there now.
    await expect(store.create(tagOf('ada'), session)).rejects.toMatchObject(notReplicated);
    for (const replica of replicas) replica.resume();
    await until('replicas confirm it', () =>
      store.create(tagOf('ada'), session).then(
        () => true,
        () => false,
      ),
    );
    const { provedAt: _, ...login } = session;
    for (const replica of replicas) replica.pause();
    await store.create(tagOf('ada'), { ...login, sid: 'b'.repeat(22) });
  });

  it.each([
    ['a logout', (sessions: TokenManager<{ name: string }>, token: string) => sessions.deleteToken(token)],
    ['a kick', (sessions: TokenManager<{ name: string }>) => sessions.deleteUserToken('ada')],
    [
      'a kick of one session',
      (sessions: TokenManager<{ name: string }>, token: string) => sessions.deleteSession('ada', idOf(token)),
    ],
    [
      'a ban',
      async (sessions: TokenManager<{ name: string }>) => {
        await sessions.banUser('ada');
        for (const replica of replicas) expect(await ask(replica, 'HEXISTS', keyOfUser('ada'), 'ban')).toBe(1);
        await sessions.unbanUser('ada');
      },
    ],
  ])('%s is on as many replicas as asked for when it is answered', async (_, end) => {
    const sessions = confirming(2);
    for (let i = 0; i < 20; i++) {
      const token = await sessions.setToken('ada');
      await until(
        'the replicas know the session',
        async () => (await isOn(replicas[0] as RedisServer, token)) && isOn(replicas[1] as RedisServer, token),
      );
      await end(sessions, token);
      for (const replica of replicas) expect(await isOn(replica, token)).toBe(false);
    }
  });

  it('rejects in time when the replicas are unreachable, though the session has ended; parallel checks are served', async () => {
    // Long enough for two calls on a busy machine.
    const waitMs = 2 * WAIT_MS;
    const sessions = manage({ durability: { replicas: 1, timeoutMs: waitMs } });
    const [token, other] = [await sessions.setToken('ada'), await sessions.setToken('grace')];
    for (const replica of replicas) replica.pause();
    const elapsedMs = startStopwatch();
    const logout = expect(sessions.deleteToken(token)).rejects.toMatchObject({
      ...notReplicated,
      message: 'the sessions have ended, but only 0 of 1 replicas confirmed it in time',
    });
    let isWaiting = true;
    const answered = logout.finally(() => {
      isWaiting = false;
    });
    await sleep(20);
    expect(await sessions.touchToken(other)).not.toBeNull();
    expect(await sessions.checkToken(token)).toBeNull();
    expect(isWaiting).toBe(true);
    await answered;
    expect(elapsedMs()).toBeLessThan(waitMs + SLACK_MS);
  });

  it('notifies listeners once even when replication is unconfirmed: the sessions have ended', async () => {
    const sessions = manage({ durability: { replicas: 3, timeoutMs: 50 } });
    const seen: string[] = [];
    for (const name of ['logout', 'revoked', 'banned'] as const) sessions.on(name, () => void seen.push(name));
    const [one] = [await sessions.setToken('ada'), await sessions.setToken('ada'), await sessions.setToken('ada')];
    const notReplicated = { code: 'ERR_NOT_REPLICATED' };
    await expect(sessions.deleteToken(one)).rejects.toMatchObject(notReplicated);
    await expect(sessions.deleteToken(one)).rejects.toMatchObject(notReplicated);
    await expect(sessions.deleteUserToken('ada')).rejects.toMatchObject(notReplicated);
    await expect(sessions.banUser('ada')).rejects.toMatchObject(notReplicated);
    expect(seen).toEqual(['logout', 'revoked', 'revoked', 'banned']);
  });

  it('is confirmed by a second call once the replicas are back, also from another process', async () => {
    const [sessions, elsewhere] = [manage(), manage()];
    const tokens = [await sessions.setToken('ada'), await sessions.setToken('grace')] as const;
    for (const replica of replicas) replica.pause();
    await expect(sessions.deleteToken(tokens[0])).rejects.toMatchObject(notReplicated);
    // This manager has not yet written anything for WAIT to confirm.
    await expect(elsewhere.deleteToken(tokens[0])).rejects.toMatchObject(notReplicated);
    for (const replica of replicas) replica.resume();
    for (const again of [sessions, elsewhere]) {
      expect(await answered(() => again.deleteToken(tokens[0]))).toBe(false);
    }
    expect(await isOn(replicas[0] as RedisServer, tokens[0])).toBe(false);
  });

  it('settles in time with many in parallel, with reachable and unreachable replicas', async () => {
    const patient = confirming();
    for (const areAway of [false, true]) {
      const sessions = areAway ? manage() : patient;
      const tokens = await Promise.all(Array.from({ length: 100 }, (_, i) => patient.setToken(`user-${i}`)));
      await until('it has its connections', async () => sessions.deleteToken(await sessions.setToken('eve')));
      if (areAway) for (const replica of replicas) replica.pause();
      const elapsedMs = startStopwatch();
      const [first, ...others] = tokens as [string, ...string[]];
      const calls = [sessions.deleteToken(first)];
      await sleep(50);
      calls.push(...others.map((token) => sessions.deleteToken(token)));
      const outcomes = await Promise.allSettled(calls);
      expect(elapsedMs()).toBeLessThan((areAway ? TIMEOUT_MS : PATIENT.timeoutMs) + 50 + SLACK_MS);
      for (const outcome of outcomes) {
        expect(outcome).toMatchObject(
          areAway ? { status: 'rejected', reason: notReplicated } : { status: 'fulfilled', value: true },
        );
      }
      for (const token of tokens) expect(await sessions.checkToken(token)).toBeNull();
    }
  });

  const SHORT_MS = 500;
  const suspend = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3 * SHORT_MS);
  const ENDS = ['deleteToken', 'deleteUserToken', 'banUser'] as const;
  const managedShortly = async () => {
    const sessions = manage({ timeoutMs: SHORT_MS, durability: { replicas: 1 } });
    return { sessions, token: await until('it is there', () => sessions.setToken('ada').catch(() => null)) };
  };

  it.each(['made', 'sent'])('that was %s before this process was suspended is confirmed', async (state) => {
    for (const end of ENDS) {
      const { sessions, token } = await managedShortly();
      const ending = sessions[end](end === 'deleteToken' ? token : 'ada');
      if (state === 'sent') await nextTurn();
      suspend();
      expect(await ending).toBeTruthy();
      await sessions.unbanUser('ada');
    }
  });

  it('whose replicas were asked just before this process was suspended is confirmed', async () => {
    const { call } = Redis.prototype;
    const spy = jest.spyOn(Redis.prototype, 'call');
    onClose(() => spy.mockRestore());
    for (const end of ENDS) {
      const { sessions, token } = await managedShortly();
      await until('there is a connection', async () => sessions.deleteToken(await sessions.setToken('eve')));
      spy.mockImplementationOnce(function (this: Redis, ...args) {
        setImmediate(suspend);
        return call.apply(this, args as never);
      });
      expect(await sessions[end](end === 'deleteToken' ? token : 'ada')).toBeTruthy();
      await sessions.unbanUser('ada');
    }
  });

  it('works on a Redis whose memory is full', async () => {
    const sessions = confirming();
    const tokens = [
      await sessions.setToken('ada'),
      await sessions.setToken('grace'),
      await sessions.setToken('grace'),
    ] as const;
    await ask(master, 'CONFIG', 'SET', 'maxmemory', '1');
    try {
      expect(await sessions.deleteToken(tokens[0])).toBe(true);
      expect(await sessions.deleteUserToken('grace', { except: tokens[1] })).toBe(1);
      expect(await isOn(replicas[0] as RedisServer, tokens[2])).toBe(false);
    } finally {
      await ask(master, 'CONFIG', 'SET', 'maxmemory', '0');
    }
  });

  it('leaves nothing behind in Redis', async () => {
    const sessions = confirming();
    await sessions.deleteToken(await sessions.setToken('ada'));
    expect(await ask(master, 'KEYS', `${prefixes.tokenKeyPrefix}*`)).toEqual([]);
  });

  it('neither blocks a login that replaces a session, nor the close of a manager', async () => {
    const sessions = manage();
    const old = await sessions.setToken('ada');
    for (const replica of replicas) replica.pause();
    const { token } = await sessions.createSession('grace', { replaces: [old] });
    expect(await sessions.checkToken(old)).toBeNull();
    expect(await sessions.checkToken(token)).not.toBeNull();
    const late = sessions.deleteToken(token);
    const elapsedMs = startStopwatch();
    await Promise.all([expect(late).rejects.toMatchObject({ status: 503 }), sessions.close()]);
    expect(elapsedMs()).toBeLessThan(TIMEOUT_MS + SLACK_MS);
  });

  it('takes nothing from a visitor whose session goes on as another one, while no replica answers', async () => {
    const sessions = manage();
    const requests = requestSessionsOf(sessions);
    const [before, after] = [new Map([['cart', '["tea"]']]), ['tea', 'milk']];
    for (const replica of replicas) replica.pause();
    for (const start of [() => requests.start('ada', {}, { data: before }), () => requests.startVisitor(before)]) {
      const visitor = await requests.startVisitor(before);
      // Another request, after the data was copied.
      await sessions.sessionData(visitor.token).set('cart', after);
      const next = await start();
      await requests.endVisitor(visitor.token, next, before, null);
      expect(await sessions.sessionData(visitor.token).get('cart')).toBeUndefined();
      expect(await sessions.sessionData(next.token).get('cart')).toEqual(after);
    }
  });

  it('stops no login by express-session, which keeps what the visitor had', async () => {
    const store = new RedisStore(master.url, {
      timeoutMs: TIMEOUT_MS,
      ...prefixes,
      durability: { replicas: 1, timeoutMs: 50 },
    });
    const routes: Record<string, Route> = {
      '/sign-in': (req) => {
        req.session.passport = { user: req.query.user };
      },
    };
    const { browse } = await startBridge(onClose, { policy: { store }, routes });
    for (const replica of replicas) replica.pause();
    for (const login of ['/login', '/sign-in']) {
      const browser = browse();
      await browser.visit('/set?cart=tea');
      for (const user of login === '/login' ? ['ada'] : ['ada', 'grace']) {
        expect(await browser.visit(`${login}?user=${user}`)).toMatchObject({ status: 200 });
        const { body } = await browser.visit('/session');
        expect(body).toMatchObject({ data: { passport: { user }, ...(login === '/sign-in' && { cart: 'tea' }) } });
      }
      expect(await browser.visit('/logout')).toMatchObject({ status: 503 });
    }
  });

  it('notifies listeners of ends by a lost user or a moved session, although no replica confirms them', async () => {
    const store = new RedisStore(master.url, {
      timeoutMs: TIMEOUT_MS,
      ...prefixes,
      durability: { replicas: 3, timeoutMs: 50 },
    });
    const sessions = new TokenManager({ store, secret: SECRET, maxSessions: 1, getUserInfo: () => null });
    onClose(() => sessions.close());
    const seen: [name: string, sessionId: string][] = [];
    for (const name of ['replaced', 'revoked'] as const) {
      sessions.on(name, ({ sessionId }) => seen.push([name, sessionId]));
    }
    const first = await sessions.setToken('ada');
    const { named } = requestSessionsOf(sessions);
    const name = named.newName('ada');
    await expect(named.startUser('ada', name, { data: new Map(), provedAt: 0 })).rejects.toMatchObject(notReplicated);
    const token = (await named.tokenOf(name)) as string;
    await expect(sessions.touchToken(token)).rejects.toMatchObject(notReplicated);
    expect(seen).toEqual([
      ['replaced', first.split('.')[1]],
      ['revoked', name.sid],
    ]);
  });

  it('waits on the server that the client is connected to, after each reconnect', async () => {
    const lone = await startRedis();
    onClose(() => lone.stop());
    const proxy = await startProxy(master.port);
    onClose(() => proxy.stop());
    const store = new RedisStore(`redis://127.0.0.1:${proxy.port}`, {
      timeoutMs: TIMEOUT_MS,
      ...prefixes,
      durability: { replicas: 1, timeoutMs: WAIT_MS },
    });
    const sessions = new TokenManager({ store, secret: SECRET });
    onClose(() => sessions.close());
    const first = await sessions.setToken('ada');
    await until('it is confirmed', () => sessions.deleteToken(first).then(() => true));
    // The name now leads to another server; the old one works, and has its replicas.
    proxy.leadTo(lone.port);
    await ask(master, 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    const token = await until('it is there', () => sessions.setToken('ada'));
    expect(await ask(lone, 'HEXISTS', keyOf(token), idOf(token))).toBe(1);
    await expect(sessions.deleteToken(token)).rejects.toMatchObject(notReplicated);
  });

  it('opens no connection for a store that was closed in the meantime', async () => {
    const client = createRedisClient(master.url, { timeoutMs: TIMEOUT_MS });
    onClose(() => client.disconnect());
    const sessions = new TokenManager({
      store: new RedisStore(client, { timeoutMs: TIMEOUT_MS, ...prefixes, durability: { replicas: 1 } }),
      secret: SECRET,
    });
    const token = await sessions.setToken('ada');
    const connections = async () => (await askInfo(master, 'INFO', 'stats')).total_connections_received;
    const before = await connections();
    const logout = sessions.deleteToken(token);
    await sessions.close();
    await expect(logout).rejects.toMatchObject(notReplicated);
    expect(await connections()).toBe(before);
  });

  it('names the cause when it is another one than missing replicas', async () => {
    await ask(master, 'ACL', 'SETUSER', 'waitless', 'on', '>a password', '~*', '+@all', '-wait');
    const settings = { host: '127.0.0.1', port: master.port, username: 'waitless', password: 'a password' };
    const store = new RedisStore(settings, { ...PATIENT, ...prefixes, durability: { replicas: 1 } });
    const sessions = new TokenManager({ store, secret: SECRET });
    onClose(() => sessions.close());
    await expect(sessions.deleteToken(await sessions.setToken('ada'))).rejects.toMatchObject({
      ...notReplicated,
      message: 'the sessions have ended, but no replica could be asked to confirm it',
      cause: { message: expect.stringContaining('NOPERM') },
    });
  });

  it('says that the connection broke when an intermediary closes it during the wait; the next uses another', async () => {
    const proxy = await startProxy(master.port);
    onClose(() => proxy.stop());
    const store = new RedisStore(`redis://127.0.0.1:${proxy.port}`, {
      ...PATIENT,
      ...prefixes,
      durability: { replicas: 1 },
    });
    const sessions = new TokenManager({ store, secret: SECRET });
    onClose(() => sessions.close());
    const token = await sessions.setToken('ada');
    const isCut = proxy.loseRequest(/WAIT/);
    await expect(sessions.deleteToken(token)).rejects.toMatchObject({
      ...notReplicated,
      cause: { message: 'the connection was closed without a reason' },
    });
    await isCut;
    expect(await sessions.deleteToken(await sessions.setToken('ada'))).toBe(true);
  });

  it('ends no sessions of database 0 when Redis refuses its own connection the database', async () => {
    await ask(master, 'ACL', 'SETUSER', 'app', 'reset', 'on', '>app', '~*', '&*', '+@all');
    const store = new RedisStore(
      { port: master.port, username: 'app', password: 'app', db: 1 },
      { ...prefixes, timeoutMs: TIMEOUT_MS, durability: { replicas: 1, timeoutMs: WAIT_MS } },
    );
    const sessions = new TokenManager({ store, secret: SECRET });
    onClose(() => sessions.close());
    const inDatabase0 = manage({});
    const token = await inDatabase0.setToken('ada');
    await sessions.setToken('ada');
    // The connection of the calls stays in its database; the one for WAIT comes later.
    await ask(master, 'ACL', 'SETUSER', 'app', '-select');
    await expect(sessions.deleteUserToken('ada')).rejects.toMatchObject({
      ...notReplicated,
      cause: { message: expect.stringContaining('NOPERM') },
    });
    expect(await inDatabase0.checkToken(token)).not.toBeNull();
  });

  it('shows in health when there are too few replicas', async () => {
    expect(await manage().health()).toMatchObject({ status: 'up' });
    expect(await manage({ durability: { replicas: 3 } }).health()).toMatchObject({
      status: 'degraded',
      reasons: ['it has 2 replicas of the 3 that durability asks for'],
    });
  });

  it('a logout is a 503 on every host, and can be repeated until it is confirmed', async () => {
    const sessions = manage();
    const signIn = async ([name, build]: [string, (typeof FRAMEWORKS)[keyof typeof FRAMEWORKS]]) => {
      const app = await listen(build(sessions as never, {}));
      onClose(app.close);
      const login = await fetch(`${app.url}/login?user=${name}`, { method: 'POST' });
      const cookie = login.headers.getSetCookie()[0]?.split(';')[0] as string;
      return async () => {
        const { status, headers } = await fetch(`${app.url}/logout`, { method: 'POST', headers: { cookie } });
        return [name, status, headers.getSetCookie().length];
      };
    };
    const logouts = await Promise.all(Object.entries(FRAMEWORKS).map(signIn));
    const names = Object.keys(FRAMEWORKS);
    for (const replica of replicas) replica.pause();
    expect(await Promise.all(logouts.map((logout) => logout()))).toEqual(names.map((name) => [name, 503, 0]));
    for (const replica of replicas) replica.resume();
    const untilConfirmed = (logout: () => Promise<(string | number)[]>) =>
      until('it is confirmed', async () => {
        const seen = await logout();
        return seen[1] !== 503 && seen;
      });
    expect(await Promise.all(logouts.map(untilConfirmed))).toEqual(names.map((name) => [name, 200, 1]));
  });
});

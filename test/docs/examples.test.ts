import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { portFromEnvironment, secretFromEnvironment, storeFromEnvironment } from '../../examples/settings';
import { importSecret, readClaims, signToken } from '../../src/token/token';
import { startClusterTopology } from '../support/cluster-topology';
import { type ExampleProcess, killExamples, runExample } from '../support/example-process';
import { freePort, type RedisServer, startRedis } from '../support/redis-server';
import { startSentinelTopology } from '../support/sentinel-topology';
import { until } from '../support/until';

const SECRET = 'a secret that the tests of the examples share';
const PASSWORD = 'a password of the servers';
const TOKEN = /[\w-]{22}\.[\w-]{22}\.[0-9a-z]+\.[0-9a-z]+\.[0-9a-z]+\.[\w-]{43}/g;
const ADA = { id: 'ada', detail: { name: 'Ada Lovelace' } };
const CODES = { status: 200, body: Array(4).fill(expect.stringMatching(/^[\da-f]{10}$/)) };
const CONFIRMATION_REQUIRED = { status: 403, body: { error: 'reauthentication_required' } };

let redis: RedisServer;
/** In memory and on Redis. They wait for ten seconds, while the other tests go on. */
let gosessions: ExampleProcess[];
let gosession: ReturnType<typeof watchGosession>;
/** Each serves the tests that need no process of their own. */
let onExpress: Served;
let onKoa: Served;

beforeAll(async () => {
  redis = await startRedis();
  gosessions = [runExample('gosession.ts'), runExample('gosession.ts', { REDIS_URL: redis.url })];
  gosession = watchGosession();
  // The test that awaits it reports a failure.
  gosession.catch(() => undefined);
  [onExpress, onKoa] = await Promise.all([
    serve('express/server.ts', { REDIS_URL: redis.url, SESSION_SECRET: SECRET }),
    serve('koa/server.ts', { SESSION_SECRET: SECRET }),
  ]);
});
afterEach(() => killExamples([...gosessions, onExpress.example, onKoa.example]));
afterAll(async () => {
  await killExamples();
  await redis.stop();
});

describe('the Express example', () => {
  beforeEach(async () => {
    for (const user of ['ada', 'grace']) {
      const token = await login(onExpress.address, user);
      await call(onExpress.address, 'POST /logout', token, '{"everywhere":true}');
    }
  });

  it('starts without Redis, and its printed curl commands work', async () => {
    const { example } = await serve('express/server.ts');
    const [login = '', me = ''] = example.stdout.match(/^curl .*$/gm) ?? [];
    const answer = JSON.parse(await shell(login));
    expect(answer).toEqual({ user: ADA, token: expect.stringMatching(new RegExp(`^${TOKEN.source}$`)) });
    expect(JSON.parse(await shell(me))).toMatchObject({ user: ADA });
    expect(example.stdout).not.toContain(answer.token);
    expect(example.stderr).toBe('');
  });

  it('serves a page without resources from other hosts', async () => {
    const { address } = onExpress;
    const response = await fetch(address);
    expect(response.headers.get('content-type')).toMatch(/^text\/html/);
    const page = await response.text();
    expect(page).toContain('This demo shows sessions, not passwords');
    expect(page).not.toMatch(/https?:\/\/|innerHTML/);
    for (const reason of ['replaced', 'revoked', 'banned', 'reused', 'expired'])
      expect(page).toContain(` ${reason}: '`);
  });

  it('does what the commands in the README show, and logs no token', async () => {
    const { example, address } = onExpress;
    const printedBefore = example.stdout.length;
    const steps = await transcriptOf('The Express app', { 'http://localhost:3000': address });
    const tokens: string[] = [];
    for (const [command, expected] of steps) {
      const output = command === 'sleep 61' ? await ageCookieFile('/tmp/laptop.jar') : await shell(command);
      expect(masked(output)).toBe(masked(expected));
      tokens.push(...(output.match(TOKEN) ?? []));
    }
    expect(steps).toHaveLength(11);
    expect(tokens).toHaveLength(4);
    const log = example.stdout.slice(printedBefore);
    for (const event of ['login', 'replaced', 'revoked', 'rotated']) {
      expect(log).toMatch(new RegExp(`^${event}: ada, session [\\w-]{22}$`, 'm'));
    }
    expect(example.stdout).not.toMatch(TOKEN);
    expect(example.stderr).toBe('');
  });

  it('lets a phone and three browsers be signed in: the oldest of the same kind ends first', async () => {
    const { address } = onExpress;
    const phone = await login(address, 'ada', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile Safari');
    const inBrowsers = await Promise.all([1, 2, 3, 4].map(() => login(address, 'ada', 'Firefox (Windows)')));
    const answers = await Promise.all([phone, ...inBrowsers].map((token) => call(address, 'GET /me', token)));
    const refused = answers.filter(({ status }) => status !== 200);
    expect(refused).toEqual([{ status: 401, body: { error: 'unauthenticated', reason: 'replaced' } }]);
    const { body } = await call(address, 'GET /sessions', phone);
    const programs = body.map(({ program }: { program: string }) => program);
    expect(programs).toEqual(['Safari on iPhone', ...Array(3).fill('Firefox on Windows')]);
  });

  it('shows a client whose session was ended elsewhere where that happened', async () => {
    const { address } = onExpress;
    const [one, two, three] = [await login(address, 'ada'), await login(address, 'ada'), await login(address, 'ada')];
    const { body } = await call(address, 'GET /sessions', one);
    expect(await call(address, `DELETE /sessions/${body[1].id}`, one)).toMatchObject({ status: 204 });
    expect(await call(address, 'DELETE /sessions', one)).toMatchObject({ status: 204 });
    const ended = { error: 'unauthenticated', reason: 'revoked', message: 'ended from Unknown program' };
    for (const token of [two, three])
      expect(await call(address, 'GET /me', token)).toEqual({ status: 401, body: ended });
    expect(await call(address, 'GET /me', one)).toMatchObject({ status: 200 });
  });

  it('shows recovery codes later than a minute after the login only after re-authentication', async () => {
    const { address } = onExpress;
    const token = await login(address, 'grace');
    expect(await call(address, 'POST /recovery-codes')).toEqual({ status: 401, body: { error: 'unauthenticated' } });
    expect(await call(address, 'POST /recovery-codes', token)).toEqual(CODES);

    const old = aMinuteAfterLogin(token);
    expect(await call(address, 'POST /recovery-codes', old)).toEqual(CONFIRMATION_REQUIRED);
    for (const body of [undefined, '{"user":"ada"}', '{"user":["grace"]}']) {
      const answer = { status: 403, body: { error: 'that is not who is signed in' } };
      expect(await call(address, 'POST /confirm', old, body)).toEqual(answer);
    }
    expect(await call(address, 'POST /recovery-codes', old)).toEqual(CONFIRMATION_REQUIRED);
    const confirmed = await call(address, 'POST /confirm', old, '{"user":"grace"}');
    expect(await call(address, 'POST /recovery-codes', confirmed.body.token)).toEqual(CODES);
    expect(await call(address, 'POST /recovery-codes', old)).toEqual(CONFIRMATION_REQUIRED);
  });

  it('accepts requests of its own page with the cookie, and refuses those of any other', async () => {
    const { address } = onExpress;
    const cookie = `session=${await login(address, 'ada')}`;
    const { port } = new URL(address);
    const post = async (headers: Record<string, string>) => {
      const response = await fetch(`${address}/recovery-codes`, { method: 'POST', headers: { cookie, ...headers } });
      return [response.status, JSON.parse(await response.text()).error];
    };
    expect(await post({ origin: address, 'sec-fetch-site': 'same-origin' })).toEqual([200, undefined]);
    expect(await post({ origin: `http://localhost:${port}` })).toEqual([200, undefined]);
    const refused = [403, 'ERR_CROSS_ORIGIN'];
    expect(await post({ origin: 'http://localhost:1', 'sec-fetch-site': 'same-site' })).toEqual(refused);
    expect(await post({ origin: 'http://localhost:1' })).toEqual(refused);
    expect(await post({ origin: 'null', 'sec-fetch-site': 'cross-site' })).toEqual(refused);
  });

  it('identifies a user by a Bearer token, lists and ends their sessions, but never those of others', async () => {
    const { address } = onExpress;
    const [first, second, grace] = await Promise.all(['ada', 'ada', 'grace'].map((user) => login(address, user)));
    expect(await call(address, 'GET /me', second)).toMatchObject({ status: 200, body: { user: ADA } });

    const { body } = await call(address, 'GET /sessions', second);
    const other = body.find((session: { current: boolean }) => !session.current);
    expect(body).toHaveLength(2);
    expect(other).toMatchObject({ program: 'Unknown program', attributes: { device: 'web' } });
    expect(JSON.stringify(body)).not.toContain(first);

    expect(await call(address, `DELETE /sessions/${other.id}`, grace)).toMatchObject({ status: 404 });
    expect(await call(address, `DELETE /sessions/${other.id}`, second)).toMatchObject({ status: 204 });
    expect(await call(address, 'GET /me', first)).toMatchObject({ status: 401, body: { error: 'unauthenticated' } });
    expect(await call(address, 'GET /me', second)).toMatchObject({ status: 200 });
  });

  it('logs out one session or all', async () => {
    const { address } = onExpress;
    const tokens = await Promise.all(['ada', 'ada', 'ada'].map((user) => login(address, user)));
    const statuses = () => Promise.all(tokens.map(async (token) => (await call(address, 'GET /me', token)).status));
    expect(await call(address, 'POST /logout', tokens[0])).toMatchObject({ status: 204 });
    expect(await statuses()).toEqual([401, 200, 200]);
    expect(await call(address, 'POST /logout', tokens[1], '{"everywhere":true}')).toMatchObject({ status: 204 });
    expect(await statuses()).toEqual([401, 401, 401]);
  });

  it('answers a refused login with JSON, without a stack trace', async () => {
    const { address, example } = onExpress;
    for (const [body, status, error] of [
      ['{"user":"nobody"}', 401, 'ERR_USER_NOT_FOUND'],
      ['{"user":"constructor"}', 401, 'ERR_USER_NOT_FOUND'],
      ['{"user":""}', 400, expect.stringMatching(/^send JSON/)],
      ['{"user":["ada"]}', 400, expect.stringMatching(/^send JSON/)],
      ['{"user":"\\ud800"}', 400, expect.stringMatching(/^send JSON/)],
      [JSON.stringify({ user: 'a'.repeat(2000) }), 400, expect.stringMatching(/^send JSON/)],
      ['{"user":', 400, expect.any(String)],
    ]) {
      expect(await call(address, 'POST /login', undefined, body)).toEqual({ status, body: { error } });
    }
    expect(example.stderr).toBe('');
  });

  it('keeps its users signed in across a restart, with Redis and the same secret', async () => {
    const env = { REDIS_URL: redis.url, SESSION_SECRET: SECRET };
    const { example, address } = await serve('express/server.ts', env);
    const token = await login(address, 'ada');
    expect(await example.terminate()).toBe(0);
    const restarted = await serve('express/server.ts', env);
    expect(await call(restarted.address, 'GET /me', token)).toMatchObject({ status: 200, body: { user: ADA } });
  });

  it('starts while Redis is down, says so, and serves once it is up', async () => {
    const away = await startRedis();
    try {
      await away.kill();
      const env = { REDIS_URL: away.url, SESSION_SECRET: SECRET };
      const { example, address } = await serve('express/server.ts', env);
      const token = await login(onExpress.address, 'ada');

      expect((await fetch(address)).status).toBe(200);
      expect(await call(address, 'GET /ready')).toMatchObject({ status: 503, body: { status: 'down' } });
      expect(await call(address, 'GET /me')).toMatchObject({ status: 401 });
      const body = { error: 'ERR_STORE_UNAVAILABLE' };
      expect(await call(address, 'GET /me', token)).toEqual({ status: 503, body });
      expect(await call(address, 'POST /login', undefined, '{"user":"ada"}')).toEqual({ status: 503, body });
      expect(example.stderr).toMatch(/^Redis can't be reached.*ECONNREFUSED.*get 503 until it answers\.\n/);

      await away.restart();
      const answered = await until('a login gets no 503', async () => {
        const answer = await call(address, 'POST /login', undefined, '{"user":"ada"}');
        return answer.status === 503 ? null : answer;
      });
      expect(answered.status).toBe(200);
      expect(await call(address, 'GET /ready')).toMatchObject({ status: 200, body: { status: 'up' } });
    } finally {
      await away.stop();
    }
  });

  it.each([
    [
      'Redis, behind sentinels',
      async () => {
        const topology = await startSentinelTopology({ password: PASSWORD, downAfterMs: 10_000 });
        return { topology, env: { REDIS_SENTINELS: listOf(topology.sentinels), REDIS_NAME: topology.name } };
      },
    ],
    [
      'a Redis Cluster',
      async () => {
        const topology = await startClusterTopology({ password: PASSWORD, replicas: 0, nodeTimeoutMs: 10_000 });
        return { topology, env: { REDIS_CLUSTER: listOf(topology.startupNodes.slice(0, 2)) } };
      },
    ],
  ])('keeps its sessions in %s, and says so', async (where, start) => {
    const { topology, env } = await start();
    try {
      const access = { SESSION_SECRET: SECRET, REDIS_PASSWORD: PASSWORD };
      const [one, other] = await Promise.all([1, 2].map(() => serve('express/server.ts', { ...access, ...env })));
      const token = await login(one?.address ?? '', 'ada');
      expect(await call(other?.address ?? '', 'GET /me', token)).toMatchObject({ status: 200, body: { user: ADA } });
      await one?.example.printed(new RegExp(`^Sessions are in ${where}\\.$`, 'm'));
      expect(one?.example.stderr).toBe('');
      expect(await one?.example.terminate()).toBe(0);
    } finally {
      await topology.stop();
    }
  });

  it('exits with code 0 on SIGTERM, with any connections open', async () => {
    const { example, address } = await serve('express/server.ts', { REDIS_URL: redis.url });
    const { port } = new URL(address);
    const [idle, stalled] = [connect(Number(port)), connect(Number(port))];
    for (const socket of [idle, stalled]) socket.on('error', () => {});
    idle.write('GET /me HTTP/1.1\r\nHost: localhost\r\n\r\n');
    stalled.write('GET /me HTTP/1.1\r\n');
    await once(idle, 'data');
    expect(await example.terminate()).toBe(0);
  });
});

describe('the Koa example', () => {
  it('logs in, shows the user, and logs out', async () => {
    const { example, address } = onKoa;
    const [first = '', second = ''] = example.stdout.match(/^curl .*$/gm) ?? [];
    const { user, token } = JSON.parse(await shell(first));
    expect(user).toEqual(ADA);
    expect(JSON.parse(await shell(second))).toMatchObject({ user: ADA });
    expect(await call(address, 'GET /me', token)).toMatchObject({ status: 200, body: { user: ADA } });
    expect(await call(address, 'POST /logout', token)).toMatchObject({ status: 204 });
    expect(await call(address, 'GET /me', token)).toMatchObject({ status: 401, body: { error: 'unauthenticated' } });
    expect(example.stderr).toBe('');
  });

  it('ends the other sessions of a user, whose next request gets the reason, and logs no token', async () => {
    const { example, address } = onKoa;
    const printedBefore = example.stdout.length;
    const [one, other] = [await login(address, 'ada'), await login(address, 'ada')];
    expect(await call(address, 'DELETE /sessions', one)).toEqual({ status: 204, body: null });
    const ended = { error: 'unauthenticated', reason: 'revoked', message: 'ended on another device' };
    expect(await call(address, 'GET /me', other)).toEqual({ status: 401, body: ended });
    expect(await call(address, 'GET /me', one)).toMatchObject({ status: 200 });
    const log = example.stdout.slice(printedBefore);
    expect(log.match(/^(login|revoked): ada, session [\w-]{22}$/gm)).toHaveLength(3);
    expect(example.stdout).not.toMatch(TOKEN);
  });

  it('shows recovery codes later than a minute after the login only after re-authentication', async () => {
    const { address } = onKoa;
    const token = await login(address, 'ada');
    expect(await call(address, 'POST /recovery-codes')).toMatchObject({ status: 401 });
    expect(await call(address, 'POST /recovery-codes', token)).toEqual(CODES);
    const old = aMinuteAfterLogin(token);
    expect(await call(address, 'POST /recovery-codes', old)).toEqual(CONFIRMATION_REQUIRED);
    expect(await call(address, 'POST /confirm', old, '{"user":"grace"}')).toMatchObject({ status: 403 });
    expect(await call(address, 'POST /recovery-codes', old)).toEqual(CONFIRMATION_REQUIRED);
    const confirmed = await call(address, 'POST /confirm', old, '{"user":"ada"}');
    expect(await call(address, 'POST /recovery-codes', confirmed.body.token)).toEqual(CODES);
  });

  it('answers invalid input with JSON, without a stack trace', async () => {
    const { example, address } = onKoa;
    for (const [body, status] of [
      ['{"user":"nobody"}', 401],
      ['{"user":["ada"]}', 400],
      ['{"user":', 400],
      ['null', 400],
      ['x'.repeat(20_000), 413],
    ] as const) {
      const error = expect.any(String);
      expect(await call(address, 'POST /login', undefined, body)).toEqual({ status, body: { error } });
    }
    const form = await fetch(`${address}/login`, { method: 'POST', body: new URLSearchParams({ user: 'ada' }) });
    expect(form.status).toBe(415);
    expect(await call(address, 'GET /elsewhere', await login(address, 'ada'))).toMatchObject({ status: 404 });
    expect(example.stderr).toBe('');
  });

  it('answers 503 while Redis is down', async () => {
    const { address } = await serve('koa/server.ts', { REDIS_URL: `redis://127.0.0.1:${await freePort()}` });
    const answer = await fetch(`${address}/login`, jsonRequest('POST', undefined, '{"user":"ada"}'));
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
  });

  it('exits with code 0 on SIGTERM', async () => {
    const { example } = await serve('koa/server.ts');
    expect(await example.terminate()).toBe(0);
    expect(example.stderr).toBe('');
  });
});

describe('the two services', () => {
  it('share their sessions; the forum trusts the pages of the shop: the commands in the README work', async () => {
    const env = { REDIS_URL: redis.url, SESSION_SECRET: SECRET };
    const shop = await serve('two-services/shop.ts', env);
    const forum = await serve('two-services/forum.ts', { ...env, SHOP_ORIGIN: shop.address });
    const addresses = { 'http://localhost:3001': shop.address, 'http://localhost:3002': forum.address };
    const commands = (await readmeSection('Two services', addresses)).match(/^curl .*$/gm);
    const answers: string[] = [];
    for (const command of commands ?? []) answers.push(await shell(command));
    const signedIn = expect.objectContaining({ user: ADA });
    const revoked = { error: 'unauthenticated', reason: 'revoked' };
    expect(answers.map((answer) => (answer === '' ? null : JSON.parse(answer)))).toEqual([
      ...[signedIn, { service: 'forum', ...ADA }, null, revoked],
      ...[signedIn, { error: 'ERR_CROSS_ORIGIN' }, { service: 'shop', ...ADA }, null, revoked],
    ]);
    expect(shop.example.stderr + forum.example.stderr).toBe('');
  });

  it('let pages of the shop, and of no other origin, read what the forum answers', async () => {
    const env = { REDIS_URL: redis.url, SESSION_SECRET: SECRET, SHOP_ORIGIN: 'https://shop.example' };
    const { address } = await serve('two-services/forum.ts', env);
    const { headers } = await fetch(`${address}/me`);
    expect(headers.get('access-control-allow-origin')).toBe('https://shop.example');
    expect(headers.get('access-control-allow-credentials')).toBe('true');
  });

  it('refuse to start with an origin that no browser would send', async () => {
    const SHOP_ORIGIN = 'https://shop.example/';
    const example = runExample('two-services/forum.ts', { REDIS_URL: redis.url, SESSION_SECRET: SECRET, SHOP_ORIGIN });
    expect(await example.ended).toBe(1);
    expect(example.stderr).toMatch(/^SHOP_ORIGIN must be an origin such as .*\n$/);
  });

  it.each(['shop.ts', 'forum.ts'])('refuse to start without Redis or a common secret: %s', async (file) => {
    const [withoutRedis, withoutSecret] = [
      runExample(`two-services/${file}`),
      runExample(`two-services/${file}`, { REDIS_URL: redis.url }),
    ];
    expect([await withoutRedis.ended, await withoutSecret.ended]).toEqual([1, 1]);
    expect(withoutRedis.stderr).toMatch(/^REDIS_URL is not set: .*\n$/);
    expect(withoutSecret.stderr).toMatch(/^SESSION_SECRET is not set: .*\n$/);
  });
});

describe('an invalid setting', () => {
  /** What the examples read, with this environment, until the program ends. */
  function readSettings(settings: Record<string, string>) {
    const before = process.env;
    const lines: string[] = [];
    let exitCode: unknown = null;
    const watched = [
      jest.spyOn(console, 'log').mockImplementation((line) => void lines.push(line)),
      jest.spyOn(console, 'error').mockImplementation((line) => void lines.push(line)),
      jest.spyOn(process, 'exit').mockImplementation((code) => {
        exitCode = code;
        throw new Error('the program has ended');
      }),
    ];
    process.env = { SESSION_SECRET: SECRET, ...settings };
    try {
      portFromEnvironment(3000);
      secretFromEnvironment();
      storeFromEnvironment();
    } catch (error) {
      if (exitCode === null) throw error;
    } finally {
      process.env = before;
      for (const spy of watched) spy.mockRestore();
    }
    return { printed: lines.map((line) => `${line}\n`).join(''), exitCode };
  }

  it.each([
    ['REDIS_URL', 'nonsense', /^REDIS_URL can't be used: .*redis:\/\/host:6379\n$/],
    [
      'REDIS_URL',
      'http://user:hush-hush@localhost',
      /^REDIS_URL can't be used: .*must begin with redis:\/\/ or rediss:\/\/\n$/,
    ],
    ['REDIS_URL', 'redis://:hush-hush@', /^REDIS_URL can't be used: .*\n$/],
    [
      'REDIS_SENTINELS',
      'redis://:hush-hush@localhost:26379',
      /^REDIS_SENTINELS can't be used: it must look like .*\n$/,
    ],
    ['REDIS_CLUSTER', '127.0.0.1:7001,', /^REDIS_CLUSTER can't be used: it must look like .*\n$/],
    ['REDIS_CLUSTER', '[::1]:7001,localhost:70000', /^REDIS_CLUSTER can't be used: cluster\[1\] port .*70000\n$/],
    ['PORT', 'eighty', /^PORT must be a whole number from 0 to 65535, got "eighty"\n$/],
    ['PORT', '65536', /^PORT must be a whole number from 0 to 65535, got "65536"\n$/],
    ['SESSION_SECRET', 'hush-hush', /^SESSION_SECRET must have at least 32 characters, got 9; .*\n$/],
    ['SESSION_SECRET', 'hush-hush'.repeat(4), /^SESSION_SECRET repeats a short text, .*\n$/],
  ])('is refused in one line that shows no secret: %s=%s', (name, value, line) => {
    const { printed, exitCode } = readSettings({ [name]: value });
    expect(exitCode).toBe(1);
    expect(printed).toMatch(line);
    expect(printed).not.toContain('hush-hush');
  });

  it('is refused when Redis is configured twice', () => {
    const { printed, exitCode } = readSettings({ REDIS_URL: redis.url, REDIS_CLUSTER: '127.0.0.1:7001' });
    expect(exitCode).toBe(1);
    expect(printed).toMatch(/^REDIS_URL and REDIS_CLUSTER are both set: .*\n$/);
  });

  it.each([
    ['express/server.ts', 'REDIS_URL', 'redis://:hush-hush@', /^REDIS_URL can't be used: .*\n$/],
    ['koa/server.ts', 'PORT', 'eighty', /^PORT must be a whole number from 0 to 65535, got "eighty"\n$/],
  ])('ends %s with one line that shows no secret: %s=%s', async (path, name, value, line) => {
    const example = runExample(path, { [name]: value });
    expect(await example.ended).toBe(1);
    expect(example.stderr).toMatch(line);
    expect(example.stdout + example.stderr).not.toContain('hush-hush');
  });

  it('ends an example with one line when the port is taken', async () => {
    const taken = createServer().listen(0);
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const example = runExample('express/server.ts', { PORT: String(port) });
    expect(await example.ended).toBe(1);
    expect(example.stderr).toBe(`Port ${port} is taken: choose another one with PORT\n`);
    taken.close();
  });
});

describe('the gosession program', () => {
  /** On a busy machine, fewer seconds are left. */
  const STEPS = [
    'list: 4 tokens',
    'check: user 000001, detail {"detail":"000001"}, [12] s left',
    'refresh to 5 s: true',
    'check: user 000001, [1-5] s left',
    'wait 10 s',
    'check: gone',
    'list: 3 tokens',
    'delete all: 3',
    'list: 0 tokens',
    '',
  ].join('\n');

  it('runs its steps and ends by itself, in memory and on Redis', async () => {
    const { keysAtFirst, keysAtLast, remembered, ttl } = await gosession;
    for (const example of gosessions) {
      expect(await example.ended).toBe(0);
      expect(example.stdout).toMatch(new RegExp(`^${STEPS}$`));
      expect(example.stderr).toBe('');
    }
    expect(keysAtFirst).toHaveLength(1);
    // Only the reason of each end stays, for as long as the session would have lived.
    expect(keysAtLast).toEqual(keysAtFirst);
    for (const record of remembered) expect(record).toMatch(/^ended:\d+:revoked:$/);
    expect(ttl).toBeLessThanOrEqual(100);
  });

  it('says in one line that Redis does not answer', async () => {
    const example = runExample('gosession.ts', { REDIS_URL: `redis://:hush-hush@127.0.0.1:${await freePort()}` });
    expect(await example.ended).toBe(1);
    expect(example.stderr).toMatch(/^Redis can't be reached.*ECONNREFUSED.*\n$/);
    expect(example.stdout).toBe('');
  });
});

/** A section of the README of the examples, with these addresses filled in. */
async function readmeSection(title: string, addresses: Record<string, string>): Promise<string> {
  const readme = await readFile(join(__dirname, '../../examples/README.md'), 'utf8');
  const [, section] = new RegExp(`^## ${title}\n(.*?)(?=^## |(?![^]))`, 'ms').exec(readme) ?? [];
  if (section === undefined) throw new Error(`there is no section ${title}`);
  return Object.entries(addresses).reduce((text, [from, to]) => text.replaceAll(from, to), section);
}

/** The commands of a section, each with its output. */
async function transcriptOf(title: string, addresses: Record<string, string>): Promise<[string, string][]> {
  const blocks = (await readmeSection(title, addresses)).match(/(?<=^```console\n).*?(?=^```$)/gms) ?? [];
  return blocks.flatMap((block) =>
    [...block.matchAll(/^\$ (.*)\n((?:[^$].*\n)*)/gm)].map(([, command = '', output = '']): [string, string] => [
      command,
      output.trimEnd(),
    ]),
  );
}

/** Without values that change from run to run. */
const masked = (output: string) => output.replace(TOKEN, 'TOKEN').replace(/\b[\da-f]{10}\b/g, 'CODE');

/** A token of the same session whose last proof is a minute older. */
function aMinuteAfterLogin(token: string): string {
  const claims = readClaims(token);
  if (claims === null) throw new Error('this is no token');
  return signToken({ ...claims, provedAt: claims.provedAt - 61_000 }, importSecret(SECRET));
}

/** The same in a cookie file of curl. */
async function ageCookieFile(path: string): Promise<string> {
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace(TOKEN, aMinuteAfterLogin));
  return '';
}

interface Served {
  example: ExampleProcess;
  address: string;
}

const listOf = (addresses: { host: string; port: number }[]) =>
  addresses.map(({ host, port }) => `${host}:${port}`).join();

/** Starts an example that serves HTTP on a free port. */
async function serve(path: string, env: Record<string, string> = {}): Promise<Served> {
  const example = runExample(path, { PORT: '0', ...env });
  const [address] = await example.printed(/http:\/\/localhost:\d+/);
  return { example, address };
}

/** What the program on Redis stores, at its first step and after its end. */
async function watchGosession() {
  const onRedis = gosessions[1] as ExampleProcess;
  await onRedis.printed(/list: 4/);
  const keysAtFirst = await redis.admin.keys('go-token:*');
  await onRedis.ended;
  const keysAtLast = await redis.admin.keys('go-token:*');
  const [key = ''] = keysAtLast;
  const { id, v, ...remembered } = await redis.admin.hgetall(key);
  return { keysAtFirst, keysAtLast, remembered: Object.values(remembered), ttl: await redis.admin.ttl(key) };
}

async function login(address: string, user: string, userAgent = 'a test'): Promise<string> {
  const request = jsonRequest('POST', undefined, JSON.stringify({ user }));
  const headers = { ...request.headers, 'user-agent': userAgent };
  const response = await fetch(`${address}/login`, { ...request, headers });
  expect(response.status).toBe(200);
  return JSON.parse(await response.text()).token;
}

/** Calls `METHOD /path`, with or without a token. */
async function call(address: string, route: string, token?: string, body?: string) {
  const [method = '', path = ''] = route.split(' ');
  const response = await fetch(address + path, jsonRequest(method, token, body));
  const text = await response.text();
  return { status: response.status, body: text === '' ? null : JSON.parse(text) };
}

function jsonRequest(method: string, token: string | undefined, body: string | undefined): RequestInit {
  return {
    method,
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body }),
  };
}

async function shell(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)('sh', ['-c', command]);
  return stdout;
}

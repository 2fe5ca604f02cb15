import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import type { IncomingHttpHeaders, RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import { MemoryStore, TokenManager } from 'tokensession';
import { STATUS } from '../../src/errors/session-error';
import { readCookies } from '../../src/http/cookies/cookie';
import { scopesOf } from '../../src/http/cookies/cookie-scopes';
import { crossOriginRefusal } from '../../src/http/tokens/origin-check';
import { candidatesOf } from '../../src/http/tokens/request-tokens';
import { readHeader } from '../../src/http/tokens/token-header';
import { EVENT_NAMES } from '../../src/manager/session-events';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { setAcl } from '../support/acl';
import { type Detail, FRAMEWORKS, listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { OUR_SOURCES, TSX } from '../support/programs';
import { freePort, isRedis6, type RedisServer, startAll, startRedis } from '../support/redis-server';
import type { Briefing } from '../support/secrecy/program';
import type { Testimony } from '../support/secrecy/witness';
import { SecretSearch } from '../support/secret-search';
import { idOf } from '../support/session-id';
import { SECRET } from '../support/stores';
import { type FoundText, printsOf, textsIn } from '../support/texts-in';
import { within } from '../support/until';

/** The longest run of the program on a busy machine. */
const PROGRAM_MS = 300_000;

describe('a process that makes all calls, valid and invalid', () => {
  const briefing: Briefing = {
    secrets: [randomBytes(32).toString('base64'), randomBytes(32).toString('hex')],
    passwords: {
      right: `p@ss?w/rd:${randomBytes(12).toString('base64')}`,
      wrong: `wr%ng&${randomBytes(12).toString('base64')}`,
      sentinel: randomBytes(18).toString('base64'),
    },
    servers: { main: 0, strict: 0, full: 0, replica: 0, lonely: 0, cluster: 0, unused: 0 },
  };
  const output = { stdout: '', stderr: '' };
  let running: RedisServer[] = [];
  let testimony: Testimony;
  let files: string[];

  beforeAll(async () => {
    running = await startServers(briefing);
    const folder = await mkdtemp(join(tmpdir(), 'tokensession-secrecy-'));
    const program = fork(join(__dirname, '../support/secrecy/program.ts'), {
      cwd: folder,
      execArgv: TSX,
      env: { PATH: process.env.PATH, ...OUR_SOURCES, BRIEFING: JSON.stringify(briefing) },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of ['stdout', 'stderr'] as const) {
      program[stream]?.setEncoding('utf8').on('data', (text) => {
        output[stream] += text;
      });
    }
    program.on('message', (message) => {
      testimony = message as Testimony;
    });
    let exitCode: number | null;
    try {
      [exitCode] = (await within(PROGRAM_MS, 'the program', once(program, 'close'))) as [number | null];
    } finally {
      program.kill('SIGKILL');
      files = await readdir(folder);
      await rm(folder, { recursive: true });
    }
    if (exitCode !== 0) throw new Error(`the program ended with ${exitCode}:\n${output.stderr.slice(-3000)}`);
  }, PROGRAM_MS + 60_000);
  afterAll(() => Promise.all(running.map((server) => server.stop())));

  it('puts no token, secret or password into events, errors, warnings or printed objects', () => {
    const { secrets, passwords } = briefing;
    const search = new SecretSearch({
      'the secret': secrets[0],
      'the older secret': secrets[1],
      'the password': passwords.right,
      'the wrong password': passwords.wrong,
      'the password of the sentinels': passwords.sentinel,
      // Only the signature is secret: without it a token consists of public names.
      ...Object.fromEntries(testimony.tokens.map((token, i) => [`token ${i}`, token.split('.').at(-1) as string])),
    });
    const texts: FoundText[] = [...testimony.seen, ['stdout', output.stdout], ['stderr', output.stderr]];
    const found = texts.flatMap(([where, text]) => search.namesIn(text).map((name) => `${where}: ${name}`));
    const isExcepted = (finding: string) => EXCEPTIONS.some(([pattern]) => pattern.test(finding));
    expect(found.filter((finding) => !isExcepted(finding))).toEqual([]);
    // An unused exception would hide a later finding.
    expect(EXCEPTIONS.filter(([pattern]) => !found.some((finding) => pattern.test(finding)))).toEqual([]);
    expect(files).toEqual([]);
  });

  it('has covered every event, error and status, and what frameworks and Node print of them', () => {
    const { tally, tokens, seen } = testimony;
    expect(Object.keys(tally).sort()).toEqual(EXPECTED.sort());
    expect(tokens.length).toBeGreaterThan(100);
    expect(output.stdout).toContain("id: 'ada-Express'");
    const unsaid = SAID.filter((said) => !seen.some(([, text]) => new RegExp(said).test(text)));
    expect(unsaid).toEqual([]);
    for (const printed of PRINTED) expect(output.stderr).toMatch(printed);
  });
});

/** Where secrets are expected, and why. */
const EXCEPTIONS: [finding: RegExp, reason: string][] = [
  [/^client of .*: the (wrong )?password$/, 'a client that the application owns has its password'],
  [/^error event of ioredis: .*: the wrong password$/, 'what a client of ioredis’s own making tells its owner'],
  [/^a Redis that is full: event banned .*: token \d+$/, 'the reason of a ban is reported unchanged, here a token'],
];

/** Everything that the program must have counted: what is missing was not searched. */
const EXPECTED = [
  ...EVENT_NAMES.map((name) => `event ${name}`),
  ...[...Object.keys(STATUS), 'TypeError', 'RangeError', 'AggregateError', 'Error'].map((name) => `error ${name}`),
  ...[200, 204, 401, 403, 409, 500, 503].map((status) => `status ${status}`),
];

/** The mark in which Redis quotes a command that it doesn't know. */
const QUOTE = isRedis6() ? '`' : "'";

/** Messages of Redis and Node for each refusal. */
const SAID = [
  ...['ECONNREFUSED', 'WRONGPASS', 'NOAUTH', 'NOPERM', 'OOM', 'READONLY', 'NOREPLICAS'],
  ...['auth', 'evalsha'].map((command) => `unknown command ${QUOTE}${command}${QUOTE}`),
  ...['DB index is out of range', 'cluster support disabled', 'no sentinel named the master'],
  ...['Redis gave no answer within 250 ms', 'Redis has stopped answering', 'the store is closed'],
];

/** What is printed by Express and Koa, a listener that throws, the application's own client, and ioredis. */
const PRINTED = [
  /^SessionError: Redis can't be reached/m,
  /^ {2}SessionError: Redis can't be reached/m,
  /TOKENSESSION_LISTENER.*\nError: a listener that throws/,
  /TOKENSESSION_CLIENT/,
];

describe('the search finds', () => {
  const token = `${'t'.repeat(22)}.${'s'.repeat(22)}.${randomBytes(32).toString('base64url')}`;
  const signature = token.split('.').at(-1) as string;
  const password = `p@ss?w/rd:${randomBytes(12).toString('base64')}`;
  const search = new SecretSearch({ token: signature, password });
  const namesIn = (value: unknown) => [
    ...new Set([...textsIn(value), ...printsOf(value)].flatMap(([, text]) => search.namesIn(text))),
  ];

  class Hidden {
    readonly #token = token;
    get token() {
      return this.#token;
    }
  }
  const failing = (given: object) => Object.assign(new Error('failed'), given);
  const unseen = Object.defineProperty(new Error('failed'), 'token', { value: token, enumerable: false });
  const loop: Record<string, unknown> = { deep: { deeper: [[token]] } };
  loop.self = loop;

  it.each<[string, unknown]>([
    ['a text', `session=${token}; Path=/`],
    ['the signature alone', signature],
    ['16 characters of it', `…${signature.slice(7, 23)}…`],
    ['another case', `REDIS: ${signature.toUpperCase()}`],
    ['a nested member of an error', failing({ command: { name: 'evalsha', args: ['x', { given: token }] } })],
    ['an argument that is a buffer', failing({ command: { args: [Buffer.from(`{"token":"${token}"}`)] } })],
    ['an array of bytes', failing({ bytes: new Uint8Array(Buffer.from(token)) })],
    ['the memory of bytes', failing({ bytes: new Uint8Array(Buffer.from(token)).buffer })],
    ['a hidden member', unseen],
    ['a member named by a symbol', failing({ [Symbol('secret')]: token })],
    ['the name of a member', failing({ options: { [token]: 1 } })],
    ['the name of a symbol', failing({ [Symbol(token)]: 1 })],
    ['the name of a function', failing({ call: { [token]: () => 1 }[token] })],
    ['a member of a function', failing({ call: Object.assign(() => 1, { token }) })],
    ['what a getter of the prototype gives', failing({ session: new Hidden() })],
    [
      'what a getter throws',
      {
        get token() {
          throw new Error(token);
        },
      },
    ],
    ["the cause of an error's cause", new Error('a', { cause: new Error('b', { cause: failing({ token }) }) })],
    ['one of several errors', new AggregateError([new Error('a'), new Error(token)], 'failed')],
    ['the stack alone', failing({ message: 'failed', stack: `Error: ${token}\n    at x` })],
    ['a map', failing({ by: new Map([[{ token }, 1]]) })],
    ['a set', failing({ all: new Set([[token]]) })],
    ['headers', failing({ headers: new Headers({ cookie: `session=${token}` }) })],
    ['a URL', failing({ url: new URL(`https://example.com/?token=${token}`) })],
    ['a boxed text', failing({ token: Object(token) })],
    ['an object in a circle', loop],
    ['what is printed for it alone', { toJSON: () => ({ token }) }],
    ['base64', `Basic ${Buffer.from(`ada:${token}`).toString('base64')}`],
    ['base64url behind another byte', Buffer.from(`.ada:${token}`).toString('base64url')],
    ['hex', Buffer.from(token).toString('hex')],
    [
      'bytes as they are printed',
      `<Buffer ${Buffer.from(signature)
        .toString('hex')
        .replace(/..(?=.)/g, '$& ')}>`,
    ],
    ['bytes as they are listed', `{"type":"Buffer","data":[${[...Buffer.from(signature)].join(',')}]}`],
  ])('a token in %s', (_, value) => {
    expect(namesIn(value)).toEqual(['token']);
  });

  it('a password in a URL, in JSON and in quotes', () => {
    expect(namesIn(failing({ url: `redis://sessions:${encodeURIComponent(password)}@host` }))).toEqual(['password']);
    expect(namesIn(JSON.stringify({ args: ['AUTH', 'sessions', password] }))).toEqual(['password']);
    expect(namesIn(failing({ target: { password } }))).toEqual(['password']);
  });

  it('nothing in public ids or in other tokens', () => {
    const other = `${token.slice(0, 45)}.${randomBytes(32).toString('base64url')}`;
    expect(namesIn(failing({ id: idOf(token), cookie: `session=${other}`, session: 15 }))).toEqual([]);
    expect(namesIn(process.env.PATH)).toEqual([]);
  });

  it('no secret too short to be distinguished from other text, and says so', () => {
    expect(() => new SecretSearch({ 'the pin': '1234' })).toThrow('the pin is too short to be looked for');
  });
});

describe.each(Object.entries(FRAMEWORKS))('%s', (_, build) => {
  const close = closeAfterEach();

  it('a token in the URL or in the body signs no user in', async () => {
    const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
    close(() => manager.close());
    const token = await manager.setToken('ada');
    const app = await listen(withBody(build(manager, {})));
    close(app.close);
    const names = ['session', '__Host-session', 'token', 'access_token', 'authorization', 'Authorization', 'cookie'];
    const fields = Object.fromEntries(
      names.map((name) => [name, name.endsWith('ization') ? `Bearer ${token}` : token]),
    );
    const query = new URLSearchParams(fields);
    const form = new FormData();
    for (const [name, value] of query) form.append(name, value);
    const requests: [path: string, init: RequestInit][] = [
      [`?${query}`, {}],
      [`?session=${token}`, {}],
      [`?cookie=session=${token}`, { method: 'POST' }],
      ['', { method: 'POST', body: query }],
      ['', { method: 'POST', body: form }],
      ['', { method: 'POST', body: token }],
      ['', { method: 'POST', body: JSON.stringify(fields), headers: { 'Content-Type': 'application/json' } }],
      [`?${query}`, { method: 'PUT', body: query, headers: { Cookie: 'session=', Authorization: 'Bearer' } }],
      ['', { headers: { 'X-Session-Token': token, Session: token, Referer: `${app.url}/?session=${token}` } }],
    ];
    for (const [path, init] of requests) {
      const response = await fetch(`${app.url}/session${path}`, init);
      expect(await response.json()).toMatchObject({ user: null, token: null });
      expect(response.headers.getSetCookie()).toEqual([]);
      expect(await fetch(`${app.url}/me${path}`, init)).toMatchObject({ status: 401 });
    }
    expect(await fetch(`${app.url}/me`, { headers: { Cookie: `session=${token}` } })).toMatchObject({ status: 200 });
  });
});

describe('the time to read', () => {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  afterAll(() => manager.close());
  const cookies = readCookies('option cookie', undefined);
  const header = readHeader('option header', undefined);
  const exchange = (headers: IncomingHttpHeaders, host = 'app.example') =>
    ({
      method: 'POST',
      handledMethod: 'POST',
      header: (name: string) => headers[name]?.toString(),
      isRepeated: () => false,
      url: '/',
      isSecure: false,
      host: () => host,
    }) as never;
  const read: Record<string, (text: string) => unknown> = {
    Cookie: (text) => candidatesOf(cookies?.(false).user.read(text) ?? [], requestSessionsOf(manager)),
    'Cookie, when it is secure': (text) =>
      candidatesOf(cookies?.(true).user.read(text) ?? [], requestSessionsOf(manager)),
    Authorization: (text) => manager.isToken(header?.read(exchange({ authorization: text }))),
    Origin: (text) => crossOriginRefusal(exchange({ origin: text }), new Set()),
    'Sec-Fetch-Site': (text) => crossOriginRefusal(exchange({ 'sec-fetch-site': text }), new Set()),
    Host: (text) => crossOriginRefusal(exchange({ origin: 'https://app.example' }, text), new Set()),
    'Host, with several cookies': (text) => scopesOf({ host: () => text, url: '/' }, '/'),
    'the URL, with several cookies': (text) => scopesOf({ host: () => 'app.example', url: text }, '/'),
  };
  const short = `${'A'.repeat(22)}.${'B'.repeat(22)}.${'C'.repeat(43)}`;
  const PARTS = [
    ...[
      'a',
      ' ',
      '\t',
      ';',
      '=',
      '"',
      '%',
      '.',
      ':',
      '/',
      ',',
      '-',
      '1',
      '[',
      '::',
      '1.',
      'a.',
      ':1',
      '/a',
      '/..',
      '%2',
    ],
    ...[
      ' ;',
      '="',
      '"\\"',
      'session',
      'session=',
      'session=a;',
      ';session',
      '__Host-session=;',
      'Bearer ',
      `${short} `,
    ],
    ...[`session=${short};`, 'session=\u00ff; ', 'https://', '.a:', 'xn--', '__proto__=1;', '\u00a0'],
  ];
  const STARTS = ['', 'session=', 'session=x; session=', 'Bearer ', 'https://', '/', '[', '1.'];
  const ENDS = ['', 'x', '\x00'];

  /** Milliseconds, the least of several measurements. */
  const timeOf = (run: () => unknown, measurements = 3) =>
    Math.min(
      ...Array.from({ length: measurements }, () => {
        const begin = performance.now();
        run();
        return performance.now() - begin;
      }),
    );
  /** How much longer 8 times the text takes. Very short times are ignored. */
  const growth = (run: (text: string) => unknown, text: (length: number) => string) => {
    const [little, much] = [text(LITTLE), text(8 * LITTLE)];
    return (
      timeOf(() => run(much)) /
      Math.max(
        NO_TIME_MS,
        timeOf(() => run(little)),
      )
    );
  };
  /** An eighth of what Node accepts (`--max-http-header-size`). */
  const LITTLE = 2000;
  const NO_TIME_MS = 0.05;
  /** Eight times the text takes 8 times as long in linear time, and 64 times in quadratic time. */
  const LIMIT = 24;

  it('is short for any cookie or header', () => {
    const shapes = STARTS.flatMap((start) => PARTS.flatMap((part) => ENDS.map((end) => ({ start, part, end }))));
    for (const [what, run] of Object.entries(read)) {
      const slow = shapes.find(({ start, part, end }) => {
        const text = (length: number) => start + part.repeat(length / part.length) + end;
        // Most shapes are read in no time: their growth is no more than the limit, whatever the little takes.
        if (timeOf(() => run(text(8 * LITTLE)), 1) <= LIMIT * NO_TIME_MS) return false;
        // Another process may have used the machine: slow code is slow every time.
        return [1, 2, 3].every(() => growth(run, text) > LIMIT);
      });
      expect({ what, slow }).toEqual({ what });
    }
  });

  it('is measured well enough to detect quadratic time', () => {
    const spaces = (length: number) => `${' '.repeat(length / 4)}x`;
    expect(growth((text) => /\s+$/.test(text), spaces)).toBeGreaterThan(LIMIT);
    expect(growth((text) => text.trim(), spaces)).toBeLessThan(LIMIT);
  });
});

/** The application parses body and query first, as usual. */
function withBody(listener: RequestListener): RequestListener {
  return express()
    .use(express.json(), express.urlencoded({ extended: true }), express.text({ type: '*/*' }))
    .use((req, res) => listener(req, res));
}

/** Documented at the briefing's `servers`. */
async function startServers({ servers, passwords: { right: password } }: Briefing): Promise<RedisServer[]> {
  servers.unused = await freePort();
  const unknown = ['AUTH', 'HELLO', 'EVAL', 'EVALSHA'].map((name) => [name, `hidden-${name}`]);
  const all = await startAll([
    startRedis({ requirepass: password }),
    startRedis({ 'rename-command': unknown }),
    startRedis({ requirepass: password, maxmemory: '1', 'maxmemory-policy': 'noeviction' }),
    startRedis({ requirepass: password, replicaof: [['127.0.0.1', String(servers.unused)]] }),
    startRedis({ 'min-replicas-to-write': '1' }),
    startRedis({ requirepass: password, 'cluster-enabled': 'yes' }),
  ]);
  for (const [i, name] of (['main', 'strict', 'full', 'replica', 'lonely', 'cluster'] as const).entries()) {
    servers[name] = all[i]?.port ?? 0;
  }
  const main = all.slice(0, 1);
  await setAcl(main, ['ACL', 'SETUSER', 'sessions', 'on', `>${password}`, '~*', '&*', '+@all']);
  await setAcl(main, ['ACL', 'SETUSER', 'limited', 'on', `>${password}`, '+auth', '+ping']);
  return all;
}

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { RedisStore, SessionError, type SessionErrorCode, TokenManager } from 'tokensession';
import { LOGIN_OPTIONS } from '../../src/http/session/login-options';
import { ACL_LOGIN, aclsIn, refusalsOf, setAcl } from '../support/acl';
import { blocks, GIVEN, NEXT_TYPES, PAGES, pageText, ROOT, section, transcript } from '../support/doc-pages';
import { makeProgramFolder } from '../support/program-folder';
import { endProgram, OUR_SOURCES, TSX } from '../support/programs';
import { freePort, type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, SECRET } from '../support/stores';
import { until } from '../support/until';

let folder: string;
let server: RedisServer;
const children: ChildProcess[] = [];

beforeAll(async () => {
  server = await startRedis();
  folder = await makeProgramFolder();
});
afterAll(async () => {
  for (const child of children) await endProgram(child);
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

it.each(PAGES.slice(1))('%s begins with the code that does it', (page) => {
  expect(pageText(page)).toMatch(/^# .+\n\n```(ts|sh)\n/);
});

it.each(PAGES)('%s has code blocks in tested languages only', (page) => {
  const languages = [...pageText(page).matchAll(/^```(\w*)\n.*?^```$/gms)].map(([, language]) => language);
  // Programs with untyped libraries, which migrating.test.ts runs.
  const hasJavaScript = page === 'docs/migrating.md' || page === 'docs/passport.md';
  const tested = ['ts', 'console', 'sh', 'nginx', ...(hasJavaScript ? ['js'] : [])];
  for (const language of languages) expect(tested).toContain(language);
});

it.each(PAGES)('%s makes clients of Redis with createRedisClient: the store warns of others', (page) => {
  expect(blocks('ts', pageText(page)).join('')).not.toMatch(/new (Redis|Cluster)\(/);
});

/** A page with its own `Register` declaration is compiled alone. */
const saysTypes = (page: string) => pageText(page).includes('interface Register {');
const PROGRAMS = [PAGES.filter((page) => !saysTypes(page)), ...PAGES.filter(saysTypes).map((page) => [page])];

it.each(PROGRAMS.map((pages) => [pages.join(', '), pages]))(
  '%s: TypeScript that compiles, strictly',
  async (_, pages) => {
    const project = await mkdtemp(join(folder, 'pages-'));
    const snippets = (pages as string[]).flatMap((page) =>
      blocks('ts', pageText(page)).map(
        (text, i) => [`${page.replace(/\W/g, '-')}-${i}.ts`, `${text}\nexport {};\n`] as const,
      ),
    );
    await Promise.all(snippets.map(([name, text]) => writeFile(join(project, name), text)));
    await writeFile(join(project, 'given.d.ts'), GIVEN);
    await writeFile(join(project, 'next.d.ts'), NEXT_TYPES);
    const compilerOptions = {
      skipLibCheck: true,
      typeRoots: [join(ROOT, 'node_modules/@types')],
      paths: {
        tokensession: [join(ROOT, 'src/index.ts')],
        'tokensession/*': [join(ROOT, 'src/*.ts')],
      },
    };
    const config = { extends: join(ROOT, 'tsconfig.json'), compilerOptions, include: ['*.ts'] };
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify(config));
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
    const { stdout } = await promisify(execFile)(process.execPath, [compiler, '-p', project]).catch((error) => error);
    expect(stdout).toBe('');
  },
);

/** Runs a program of the README, and returns its port. */
async function start(program: string): Promise<number> {
  const port = await freePort();
  await writeFile(join(folder, `server-${port}.ts`), program);
  const settings = { REDIS_URL: server.url, SESSION_SECRET: SECRET, PORT: String(port) };
  const env = { ...process.env, ...OUR_SOURCES, ...settings };
  const child = spawn(process.execPath, [...TSX, `server-${port}.ts`], { cwd: folder, env, stdio: 'inherit' });
  children.push(child);
  await untilListening(port);
  return port;
}

it('has a Koa program that signs a user in', async () => {
  const url = `http://127.0.0.1:${await start(blocks('ts')[1] as string)}`;
  expect((await fetch(url)).status).toBe(401);
  const login = await fetch(`${url}/login`, { method: 'POST' });
  expect(await login.json()).toEqual({ id: '17' });
  const cookie = login.headers.getSetCookie()[0]?.split(';', 1)[0] ?? '';
  expect(await (await fetch(url, { headers: { cookie } })).json()).toEqual({ id: '17' });
});

it('begins with a program that answers curl as the transcript says', async () => {
  await server.admin.flushall();
  const port = await start(blocks('ts')[0] as string);
  const curl = blocks('console')[0] as string;
  let id = '';
  for (const [command, expected] of transcript(curl)) {
    const line = command.replaceAll('localhost:3000', `127.0.0.1:${port}`).replace('ID-FROM-YOUR-LIST', () => id);
    const { stdout } = await promisify(execFile)('sh', ['-c', line], { cwd: folder });
    id = /^\[\{"id":"([^"]+)"/.exec(stdout)?.[1] ?? id;
    expect(likeTranscript(stdout)).toBe(likeTranscript(expected));
  }
});

it('shows real content of Redis', async () => {
  const store = new RedisStore(server.url, PATIENT);
  const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ({ name: 'Ada Lovelace' }) });
  await server.admin.flushall();
  const token = await sessions.setToken('ada', undefined, { ip: '127.0.0.1', userAgent: 'curl/8.5.0' });
  await sessions.touchToken(token);
  await sessions.close();
  const lines = transcript(blocks('console', section('docs/redis.md', 'What is stored'))[0] as string);
  expect(lines).toHaveLength(3);
  for (const [command, expected] of lines) {
    const [, verb, key] = /^redis-cli (\w+) '(.*)'$/.exec(command) ?? [];
    const ourKey = key?.replace(/\{.*\}/, `{${token.split('.')[0]}}`);
    const reply = await server.admin.call(verb as string, ourKey as string);
    expect(likeTranscript(asRedisCli(reply))).toBe(likeTranscript(expected));
  }
});

const ACL = aclsIn('docs/redis.md')[0] as string[];
/** Rights that only `durability` or a cache needs. */
const OPTIONAL_RIGHTS = ['+wait', '+subscribe', '+ping'];

it.each([
  ['as it is', ACL],
  ['without the rights for durability and a cache', ACL.filter((word) => !OPTIONAL_RIGHTS.includes(word))],
])('gives an ACL that is enough for everything: %s', async (_, acl) => {
  expect(pageText('docs/redis.md')).toContain('`+wait` is for `durability`, and `+subscribe +ping` for a [near cache]');
  await setAcl([server], acl);
  const login = { host: '127.0.0.1', port: server.port, ...ACL_LOGIN };
  const store = new RedisStore(login, PATIENT);
  const isWhole = acl === ACL;
  const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ({}), maxSessions: 2, cache: isWhole });
  await sessions.setToken('ada', 60, { device: 'web' });
  const { token } = await sessions.createSession('ada', { replaces: [await sessions.setToken('grace')] });
  await sessions.createSession('ada');
  expect(await sessions.touchToken(token)).not.toBeNull();
  expect(await sessions.checkToken(token)).not.toBeNull();
  expect(await sessions.refreshToken(token, 5)).toBe(true);
  const data = sessions.sessionData(token);
  await data.set({ cart: 'book' });
  expect(await data.increment('visits')).toBe(1);
  expect(await data.pop('cart')).toBe('book');
  expect(await data.getAll()).toEqual({ visits: 1 });
  await data.clear();
  expect(await sessions.listUserSessions('ada')).toHaveLength(2);
  expect(await sessions.reauthenticateToken(token)).not.toBeNull();
  expect(await sessions.rotateToken(token)).not.toBeNull();
  expect(await sessions.banUser('eve')).toBe(0);
  expect(await sessions.getBan('eve')).not.toBeNull();
  expect(await sessions.unbanUser('eve')).toBe(true);
  expect(await sessions.deleteToken(token)).toBe(true);
  expect(await sessions.inspectToken(token)).toEqual({ session: null, reason: 'unknown' });
  expect(await sessions.refreshUser(['ada'])).toBe(1);
  expect(await sessions.deleteUser('ada')).toBe(true);
  expect(await sessions.deleteUserToken('ada')).toBe(1);
  expect(await sessions.health()).toMatchObject({ status: 'up', reasons: [] });
  if (isWhole) {
    await until('the cache is up', () => sessions.cacheStats?.isUp);
    // After the first heartbeat.
    await sleep(1100);
    await until('the cache is up', () => sessions.cacheStats?.isUp);
  }
  await sessions.close();
  expect((await refusalsOf([server])).filter((object) => object !== 'wait')).toEqual([]);
  if (!isWhole) return;
  const durable = new RedisStore(login, { durability: { replicas: 1, timeoutMs: 1 } });
  // There is no replica here; a refusal would be another message.
  await expect(durable.end('a'.repeat(22), 'b'.repeat(22), null)).rejects.toThrow('only 0 of 1 replicas confirmed it');
  await durable.close();
});

it('finds the key of a user', async () => {
  const [[command, expected]] = transcript(blocks('console', pageText('docs/operations.md'))[0] as string) as [
    [string, string],
  ];
  const { stdout } = await promisify(execFile)('sh', ['-c', command]);
  expect(stdout.trim()).toBe(expected);
  const sessions = new TokenManager({ store: new RedisStore(server.url, PATIENT), secret: SECRET });
  await sessions.setToken('ada');
  await sessions.close();
  expect(await server.admin.type(expected)).toBe('hash');
});

it('has no comment behind a command, on any page: in zsh, a pasted `#` is an argument', () => {
  const commented = [...PAGES, ...OTHER_PAGES].flatMap((page) =>
    blocks('sh', pageText(page)).flatMap((text) => text.split('\n').filter((line) => /\S\s+#/.test(line))),
  );
  expect(commented).toEqual([]);
});

it('names commands that exist', async () => {
  const { scripts, name, version, peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const commands = blocks('sh').flatMap((text) => text.trim().split(/ && |\n/));
  expect(commands).toEqual([
    `npm install ../${name}/${name}-${version}.tgz ioredis express`,
    'npm install --save-dev tsx typescript @types/node @types/express',
    'npm pkg set type=module',
    'export SESSION_SECRET=$(openssl rand -base64 32)',
    'REDIS_URL=redis://localhost:6379 npx tsx server.ts',
    `npm install ../${name}/${name}-${version}.tgz ioredis koa`,
    'npm install --save-dev tsx typescript @types/node @types/koa',
    'npm pkg set type=module',
    'npm ci',
    'npm test',
  ]);
  expect(peerDependencies).toHaveProperty('ioredis');
  const named = PAGES.flatMap((page) => [...pageText(page).matchAll(/`npm run ([\w:]+)/g)].map(([, script]) => script));
  for (const script of ['start', 'test', ...named]) {
    expect(scripts).toHaveProperty([script as string]);
  }
});

it('CONTRIBUTING.md runs one test by a name that the file has', () => {
  const [, file = '', name] = /^npx jest (\S+) -t (\S+)$/m.exec(pageText('CONTRIBUTING.md')) ?? [];
  expect(pageText(file)).toContain(`describe('${name}', `);
});

it('has an example that its start command starts', async () => {
  const port = await freePort();
  const { REDIS_URL: _, ...env } = process.env;
  const child = spawn('npm', ['start'], {
    cwd: ROOT,
    env: { ...env, PORT: String(port) },
    stdio: 'ignore',
    detached: true,
  });
  await untilListening(port);
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
  process.kill(-(child.pid as number), 'SIGTERM');
  await once(child, 'exit');
});

describe('the table', () => {
  const tableOf = (page: string, header: string) => {
    const [, rest = ''] = pageText(page).split(`\n| ${header} |`);
    return rest.split('\n\n', 1)[0] as string;
  };
  /** The names in the first cells of the table with this header. */
  const rows = (page: string, header: string) =>
    [...tableOf(page, header).matchAll(/^\| ([^|]+) \|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`([\w-]+)/g)].map(([, name]) => name),
    );
  /** The members of an interface, or the keys of an object, as the source has them. */
  const members = (file: string, declaration: string) => {
    const [, body = ''] = pageText(file).split(declaration);
    const [own = ''] = body.split(/^\}/m);
    return [...own.matchAll(/^ {2}'?([\w-]+)'?\??: /gm)].map(([, name]) => name);
  };

  it.each([
    [
      'of a manager’s options',
      rows('docs/manager.md', 'option of `TokenManager`'),
      members('src/manager/manager-options.ts', 'const READERS = {'),
    ],
    [
      'of the middleware’s options',
      rows('docs/middleware.md', 'option of `sessionMiddleware`'),
      members('src/http/session/middleware-options.ts', 'const READERS = {'),
    ],
    ['of errors', rows('docs/errors.md', 'code'), members('src/errors/session-error.ts', 'const STATUS = {')],
    ['of events', rows('docs/policies.md', 'event'), members('src/manager/session-events.ts', 'const NAMES: ')],
    [
      'of a cache’s options',
      rows('docs/near-cache.md', 'option of `cache`'),
      members('src/cache/cache-options.ts', 'const READERS = {'),
    ],
    ['of the options of a login', rows('docs/middleware.md', 'option of `login`'), Object.keys(LOGIN_OPTIONS)],
    [
      'of a store’s options',
      rows('docs/redis.md', 'option of `RedisStore`'),
      members('src/redis/redis-store.ts', 'export interface RedisStoreOptions {'),
    ],
  ])('%s has all of them, and no other', (_, inTable, inSource) => {
    expect(inSource.length).toBeGreaterThan(2);
    expect([...inTable].sort()).toEqual([...inSource].sort());
  });

  // The docstrings explain each; the page leads to them, from the reference that is generated.
  it.each([
    ['docs/manager.md', 'option of `TokenManager`', 'api/index.md#tokenmanageroptions'],
    ['docs/middleware.md', 'option of `sessionMiddleware`', 'api/express.md#sessionmiddlewareoptions'],
    ['docs/middleware.md', 'option of `login`', 'api/express.md#loginoptions'],
    ['docs/middleware.md', 'member of `req.session`', 'api/express.md#requestsession'],
    ['docs/redis.md', 'option of `RedisStore`', 'api/index.md#redisstoreoptions'],
    ['docs/near-cache.md', 'option of `cache`', 'api/index.md#cacheoptions'],
    ['docs/policies.md', 'event', 'api/index.md#sessionevents'],
  ])('of %s, "%s", only says what to use each for, and links to its explanation', (page, header, reference) => {
    expect(pageText(page)).toContain(`](${reference})`);
    const lines = [...tableOf(page, header).matchAll(/^\| ([^|]+) \| ([^|]+) \|$/gm)];
    expect(lines).toHaveLength(tableOf(page, header).trim().split('\n').length - 2);
    for (const [, , purpose = ''] of lines) {
      const visible = purpose.replace(/\]\([^)]*\)/g, ']');
      expect({ purpose, isShort: visible.length <= 100 }).toEqual({ purpose, isShort: true });
    }
  });

  it('of methods links to each method of a manager in the reference', () => {
    const reference = pageText('docs/api/index.md');
    const [, rest = ''] = reference.split('\n### TokenManager\n');
    const own = rest.split('\n## ', 1)[0] as string;
    const first = headingsOf(reference.slice(0, reference.length - rest.length)).length;
    const anchors = headingsOf(reference).slice(first, first + headingsOf(own).length);
    const names = [...own.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading.replace('()', ''));
    const methods = names.flatMap((name, i) =>
      /^[a-z]/.test(name) ? [`[\`${name}\`](api/index.md#${anchors[i]})`] : [],
    );
    expect(methods.length).toBeGreaterThan(25);
    const page = pageText('docs/manager.md');
    expect(methods.filter((link) => !page.includes(link))).toEqual([]);
  });

  it('of messages has that of each error of a store', () => {
    const text = '(["\'`])((?:(?!\\1).)+)\\1';
    const code = "'(?:ERR_STORE_\\w+|ERR_NOT_REPLICATED)'";
    const patterns = [
      `${code},\\s*${text}`,
      `const message = ${text};(?:(?!const message)[^])*?new SessionError\\(\\s*${code}, message`,
    ];
    const messages = sourceTexts().flatMap((source) =>
      patterns.flatMap((pattern) => [...source.matchAll(new RegExp(pattern, 'g'))].map(([, , message]) => message)),
    );
    const distinct = [...new Set(messages)];
    expect(distinct.length).toBeGreaterThan(29);
    const page = pageText('docs/operations.md');
    // Values in a message are dots on the page.
    const missing = distinct.filter((message = '') => !page.includes(message.replace(/\$\{.*?\}/g, '…')));
    expect(missing).toEqual([]);
  });

  it('of errors has the status of each', () => {
    const lines = [...pageText('docs/errors.md').matchAll(/^\| `(ERR_\w+)` \| (\d+) \|/gm)];
    expect(lines).toHaveLength(rows('docs/errors.md', 'code').length);
    for (const [, code, status] of lines) {
      expect([code, new SessionError(code as SessionErrorCode, '').status]).toEqual([code, Number(status)]);
    }
  });
});

const OTHER_PAGES = ['CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'examples/README.md'];

it('has at most 250 lines', () => {
  expect(pageText('README.md').split('\n').length).toBeLessThanOrEqual(250);
});

it.each([...PAGES, ...OTHER_PAGES])('%s wraps sentences at 120 columns', (page) => {
  const sentences = pageText(page)
    .replace(/^```.*?^```$/gms, '')
    .replace(/<!-- results.*?\/results -->/gs, '')
    .split('\n')
    .filter((line) => !/^[|#<!]/.test(line));
  expect(sentences.filter((line) => line.length > 120)).toEqual([]);
});

const REFERENCE = readdirSync(join(ROOT, 'docs/api')).map((name) => `docs/api/${name}`);

it.each([...PAGES, ...OTHER_PAGES, ...REFERENCE])('%s links to files and headings that exist', (page) => {
  const links = [...pageText(page).matchAll(/\]\(([^)#]*)#?([^)]*)\)/g)];
  for (const [, path = '', heading = ''] of links) {
    if (path.startsWith('http')) continue;
    const file = path === '' ? join(ROOT, page) : join(ROOT, page, '..', path);
    expect(existsSync(file)).toBe(true);
    if (heading !== '') expect(anchorsOf(readFileSync(file, 'utf8'))).toContain(heading);
  }
});

/** The text of each file in `src`. */
function sourceTexts(): string[] {
  const files = readdirSync(join(ROOT, 'src'), { recursive: true }) as string[];
  return files.filter((name) => name.endsWith('.ts')).map((name) => pageText(`src/${name}`));
}

/** What links may lead to in a page: its headings, and the rows of the reference's tables. */
const anchorsOf = (text: string) => [...headingsOf(text), ...[...text.matchAll(/<a id="(.*?)">/g)].map(([, id]) => id)];

/** The anchors of a page's headings, as GitHub makes them: a repeated heading gets a number. */
function headingsOf(text: string): string[] {
  const counts = new Map<string, number>();
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => {
    const anchor = heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replaceAll(' ', '-');
    const count = counts.get(anchor) ?? 0;
    counts.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
}

/** Replaces values that change from run to run. */
function likeTranscript(text: string): string {
  return text
    .trimEnd()
    .replace(/[\w-]{43}/g, '<signature>')
    .replace(/[\w-]{22}/g, '<id>')
    .replace(/\b[1-9a-z][0-9a-z]{7}\.[1-9a-z][0-9a-z]{7}\b/g, '<minted>.<proved>')
    .replace(/\d{13}/g, '<time>')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<date>')
    .replace(/curl\/[\d.]+/g, 'curl/<version>')
    .replace(/\(integer\) 608[34]\d{5}/, '(integer) <week>');
}

/** A reply as redis-cli prints it. */
function asRedisCli(reply: unknown): string {
  if (Array.isArray(reply)) return reply.map((item, i) => `${i + 1}) ${asRedisCli(item)}`).join('\n');
  return typeof reply === 'number' ? `(integer) ${reply}` : JSON.stringify(reply);
}

const untilListening = (port: number) =>
  until(`a program listens on ${port}`, () => fetch(`http://127.0.0.1:${port}/`), 60_000);

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { RedisStore, TokenManager } from 'tokensession';
import { refusalsOf } from './support/acl';
import { freePort, type RedisServer, startRedis } from './support/redis-server';
import { SECRET } from './support/stores';
import { until } from './support/until';

const ROOT = resolve(__dirname, '..');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const OPERATIONS = readFileSync(join(ROOT, 'docs/operations.md'), 'utf8');
const POLICIES = readFileSync(join(ROOT, 'docs/policies.md'), 'utf8');
const NEAR_CACHE = readFileSync(join(ROOT, 'docs/near-cache.md'), 'utf8');

/** All code blocks of one language, in order. */
const blocks = (language: string, text = README) =>
  [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter(([, name]) => name === language)
    .map(([, , text]) => text as string);

/** What the snippets take as given, when they don't make it themselves. */
const GIVEN = `
  import type { ErrorRequestHandler as Handler, Express } from 'express';
  import * as crypto from 'node:crypto';
  import * as ioredis from 'ioredis';
  import * as tokensession from 'tokensession';
  import * as forExpress from 'tokensession/express';
  declare global {
    var { Redis }: typeof ioredis;
    var { randomBytes }: typeof crypto;
    var { MemoryStore, RedisStore, SessionError, TokenManager, createRedisClient }: typeof tokensession;
    var { requireRecentLogin, requireUser, sessionMiddleware }: typeof forExpress;
    type ErrorRequestHandler = Handler;
    var app: Express;
    var sessions: tokensession.TokenManager;
    var db: { users: { find(id: string): Promise<{ name: string } | null> } };
  }
`
  // A destructuring can't be declared: each name on its own.
  .replace(/var \{ (.*?) \}: typeof (\w+);/g, (_, names: string, from: string) =>
    names
      .split(', ')
      .map((name) => `var ${name}: typeof ${from}.${name};`)
      .join(' '),
  );

let folder: string;
let server: RedisServer;
const children: ChildProcess[] = [];

beforeAll(async () => {
  server = await startRedis();
  folder = await mkdtemp(join(tmpdir(), 'tokensession-readme-'));
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
});
afterAll(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill();
    await once(child, 'exit');
  }
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

it('has only code blocks that are tested here', () => {
  const all = [...(README + OPERATIONS + POLICIES + NEAR_CACHE).matchAll(/^```(\w*)\n.*?^```$/gms)].map(
    ([, language]) => language,
  );
  expect(all.length).toBeGreaterThan(15);
  for (const language of all) expect(['ts', 'console', 'sh']).toContain(language);
  expect(blocks('sh', OPERATIONS)).toEqual([]);
});

it('has TypeScript that compiles, strictly', async () => {
  const snippets = [README, OPERATIONS, POLICIES, NEAR_CACHE].flatMap((page) => blocks('ts', page));
  await Promise.all(snippets.map((text, i) => writeFile(join(folder, `snippet-${i}.ts`), `${text}\nexport {};\n`)));
  await writeFile(join(folder, 'given.d.ts'), GIVEN);
  const compilerOptions = {
    typeRoots: [join(ROOT, 'node_modules/@types')],
    paths: {
      tokensession: [join(ROOT, 'src/index.ts')],
      'tokensession/*': [join(ROOT, 'src/*.ts')],
    },
  };
  const config = { extends: join(ROOT, 'tsconfig.json'), compilerOptions, include: ['*.ts'] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  const { stdout } = await promisify(execFile)(process.execPath, [compiler, '-p', folder]).catch((error) => error);
  expect(stdout).toBe('');
});

it('begins with a program that answers curl as the transcript says', async () => {
  const port = await freePort();
  const [program, curl] = [blocks('ts')[0] as string, blocks('console')[0] as string];
  await writeFile(join(folder, 'server.ts'), program);
  const env = { ...process.env, REDIS_URL: server.url, SESSION_SECRET: SECRET, PORT: String(port) };
  const tsconfig = ['--tsconfig', join(ROOT, 'tsconfig.json')];
  const child = spawn(process.execPath, [join(ROOT, 'node_modules/tsx/dist/cli.mjs'), ...tsconfig, 'server.ts'], {
    cwd: folder,
    env,
    stdio: 'inherit',
  });
  children.push(child);
  await untilListening(port);

  let token = '';
  for (const [command, expected] of transcript(curl)) {
    const line = command.replaceAll('localhost:3000', `127.0.0.1:${port}`);
    if (command.startsWith('TOKEN=')) continue;
    const { stdout } = await promisify(execFile)('sh', ['-c', line], { cwd: folder, env: { ...env, TOKEN: token } });
    token = /"token":"([^"]+)"/.exec(stdout)?.[1] ?? token;
    expect(likeTranscript(stdout)).toBe(likeTranscript(expected));
  }
});

it('shows what is really in Redis', async () => {
  const store = new RedisStore(server.url);
  const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ({ name: 'Ada Lovelace' }) });
  await server.admin.flushall();
  const token = await sessions.setToken('ada', undefined, { ip: '127.0.0.1', userAgent: 'curl/8.5.0' });
  await sessions.touchToken(token);
  await sessions.close();
  const lines = transcript(blocks('console')[1] as string);
  expect(lines).toHaveLength(3);
  for (const [command, expected] of lines) {
    const [, verb, key] = /^redis-cli (\w+) '(.*)'$/.exec(command) ?? [];
    const ourKey = key?.replace(/\{.*\}/, `{${token.split('.')[0]}}`);
    const reply = await server.admin.call(verb as string, ourKey as string);
    expect(likeTranscript(asRedisCli(reply))).toBe(likeTranscript(expected));
  }
});

it.each([
  ['README.md', blocks('console')[2] as string, []],
  ['docs/operations.md', blocks('console', OPERATIONS)[0] as string, ['+wait', '+subscribe', '+ping']],
])('gives an ACL that is enough for everything: %s', async (_, block, andMore) => {
  const [[command]] = transcript(block) as [[string, string]];
  expect(command.split(' ').filter((word) => !blocks('console')[2]?.includes(word))).toEqual(andMore);
  const words = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, word]) => quoted ?? word) as string[];
  expect(words.slice(0, 3)).toEqual(['redis-cli', 'ACL', 'SETUSER']);
  expect(await server.admin.call('ACL', ...words.slice(2))).toBe('OK');
  const login = { host: '127.0.0.1', port: server.port, username: 'sessions', password: 'a password' };
  const store = new RedisStore(login);
  const cache = andMore.includes('+subscribe');
  const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ({}), maxSessions: 2, cache });
  await sessions.setToken('ada', 60, { device: 'web' });
  const { token } = await sessions.createSession('ada', { replaces: [await sessions.setToken('grace')] });
  await sessions.createSession('ada');
  expect(await sessions.touchToken(token)).not.toBeNull();
  expect(await sessions.checkToken(token)).not.toBeNull();
  expect(await sessions.refreshToken(token, 5)).toBe(true);
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
  if (cache) {
    await until('the cache is up', () => sessions.cacheStats?.isUp);
    // Past the first heartbeat.
    await sleep(1100);
    expect(sessions.cacheStats?.isUp).toBe(true);
  }
  await sessions.close();
  expect((await refusalsOf([server])).filter((object) => object !== 'wait')).toEqual([]);
  if (!andMore.includes('+wait')) return;
  const durable = new RedisStore(login, { durability: { replicas: 1, timeoutMs: 1 } });
  // There is no replica here; a refusal would be another message.
  await expect(durable.end('a'.repeat(22), 'b'.repeat(22), null)).rejects.toThrow('only 0 of 1 replicas confirmed it');
  await durable.close();
});

it('finds the key of a user', async () => {
  const [[command, expected]] = transcript(blocks('console', OPERATIONS)[3] as string) as [[string, string]];
  const { stdout } = await promisify(execFile)('sh', ['-c', command]);
  expect(stdout.trim()).toBe(expected);
  const sessions = new TokenManager({ store: new RedisStore(server.url), secret: SECRET });
  await sessions.setToken('ada');
  await sessions.close();
  expect(await server.admin.type(expected)).toBe('hash');
});

it('names commands that there are', async () => {
  const { scripts, name, peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const commands = blocks('sh').flatMap((text) => text.trim().split(/ && |\n/));
  expect(commands).toEqual([
    'npm ci',
    'npm start',
    `npm install ${name} ioredis`,
    'npm run bench',
    'npm ci',
    'npm test',
  ]);
  expect(peerDependencies).toHaveProperty('ioredis');
  for (const script of ['start', 'test', ...[...README.matchAll(/`npm run ([\w:]+)`/g)].map(([, script]) => script)]) {
    expect(scripts).toHaveProperty([script as string]);
  }
});

it('has an example app that the start line starts', async () => {
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

it.each([
  'README.md',
  'docs/operations.md',
  'docs/policies.md',
  'docs/near-cache.md',
  'docs/performance.md',
  'docs/security.md',
  'examples/README.md',
])('%s links to files and headings that are there', (page) => {
  const links = [...readFileSync(join(ROOT, page), 'utf8').matchAll(/\]\(([^)#]*)#?([^)]*)\)/g)];
  expect(links.length).toBeGreaterThan(1);
  for (const [, path = '', heading = ''] of links) {
    if (path.startsWith('http')) continue;
    const file = path === '' ? join(ROOT, page) : join(ROOT, page, '..', path);
    expect(existsSync(file)).toBe(true);
    if (heading !== '') expect(headingsOf(readFileSync(file, 'utf8'))).toContain(heading);
  }
});

const headingsOf = (text: string) =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    (heading as string)
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );

/** The commands of a transcript, each with what it prints. */
function transcript(text: string): [command: string, output: string][] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((step) => {
      const [command, ...output] = step.trimEnd().split('\n');
      return [command as string, output.join('\n')];
    });
}

/** What differs from run to run, made equal. */
function likeTranscript(text: string): string {
  return text
    .trimEnd()
    .replace(/[\w-]{43}/g, '<signature>')
    .replace(/[\w-]{22}/g, '<id>')
    .replace(/\b[1-9a-z][0-9a-z]{7}\.[1-9a-z][0-9a-z]{7}\b/g, '<minted>.<proved>')
    .replace(/\d{13}/g, '<time>')
    .replace(/\(integer\) 608[34]\d{5}/, '(integer) <week>');
}

/** A reply as redis-cli prints it. */
function asRedisCli(reply: unknown): string {
  if (Array.isArray(reply)) return reply.map((item, i) => `${i + 1}) ${asRedisCli(item)}`).join('\n');
  return typeof reply === 'number' ? `(integer) ${reply}` : JSON.stringify(reply);
}

async function untilListening(port: number) {
  for (let tries = 0; tries < 1200; tries++) {
    const isUp = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on ${port}`);
}

import { type ChildProcess, spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Browser } from '../support/browser';
import { pageText } from '../support/doc-pages';
import { CLIENT, startOAuthServer } from '../support/oauth-server';
import { makeProgramFolder } from '../support/program-folder';
import { endProgram, OUR_SOURCES } from '../support/programs';
import { ask, freePort, type RedisServer, startRedis } from '../support/redis-server';
import { SECRET } from '../support/stores';
import { until } from '../support/until';

/** The programs of each chapter, in order. */
const programs = new Map<string, { language: string; text: string }[]>();
const chapters = ['docs/migrating.md', 'docs/passport.md'].flatMap((page) => pageText(page).split(/^##+ /m).slice(1));
for (const chapter of chapters) {
  const [title = ''] = chapter.split('\n', 1);
  const blocks = [...chapter.matchAll(/^```(\w*)\n(.*?)^```$/gms)];
  programs.set(
    title,
    blocks.map(([, language = '', text = '']) => ({ language, text })),
  );
}

let folder: string;
let server: RedisServer;
const children: ChildProcess[] = [];

beforeAll(async () => {
  server = await startRedis();
  folder = await makeProgramFolder();
});
afterEach(async () => {
  for (const child of children) await endProgram(child);
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

const ENV = { PATH: process.env.PATH, ...OUR_SOURCES };

let count = 0;

/** Runs a program of a page, or what becomes of it, in the place of the one before it, until the test is over. */
async function run(chapter: string, index: number, port: number, change = (text: string) => text): Promise<void> {
  for (const child of children) await endProgram(child);
  const program = programs.get(chapter)?.[index];
  if (program === undefined) throw new Error(`no program ${index} in the chapter ${chapter}`);
  const file = `program-${count++}.${program.language === 'ts' ? 'mts' : 'mjs'}`;
  await writeFile(join(folder, file), change(program.text));
  // One process: a child of tsx would survive its kill.
  const child = spawn(process.execPath, ['--import', 'tsx', file], {
    cwd: folder,
    env: {
      ...ENV,
      REDIS_URL: server.url,
      SESSION_SECRET: SECRET,
      COOKIE_SECRET: `${SECRET} of cookies`,
      JWT_SECRET: `${SECRET} of JWTs`,
      PORT: String(port),
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  children.push(child);
  const hasBegun = async () => child.exitCode !== null || (await fetch(`http://127.0.0.1:${port}/`)).status > 0;
  await until('the program listens', hasBegun, 60_000);
  if (child.exitCode !== null) throw new Error(`the program ended with ${child.exitCode}`);
}

/** Runs one program and returns a browser that visits it. */
async function open(chapter: string, index: number): Promise<Browser> {
  const port = await freePort();
  await run(chapter, index, port);
  return new Browser(`http://127.0.0.1:${port}`);
}

const POST = { method: 'POST' };

async function signInAndOut(browser: Browser): Promise<void> {
  expect((await browser.visit('/me')).status).toBe(401);
  expect((await browser.visit('/login?user=ada', POST)).body).toEqual({ id: 'ada' });
  expect((await browser.visit('/me')).body).toEqual({ id: 'ada' });
  expect((await browser.visit('/logout', POST)).status).toBe(200);
  expect((await browser.visit('/me')).status).toBe(401);
}

it('the pages contain only code that the tests below run', () => {
  const counts = Object.fromEntries(
    [...programs].filter(([, blocks]) => blocks.length > 0).map(([title, blocks]) => [title, blocks.length]),
  );
  expect(counts).toEqual({
    'From express-session': 1,
    '1. Replace the store': 1,
    '2. Run both libraries': 1,
    '3. Remove express-session': 2,
    'From koa-session': 2,
    'From redis-sessions': 2,
    'From gosession': 1,
    'From iron-session': 1,
    'From JWT': 2,
    'Sign in with passport': 2,
    'Sign in with OAuth 2 or OpenID Connect': 2,
  });
});

it('from express-session: each stage works, and users stay signed in, also after an absence', async () => {
  const port = await freePort();
  const [browser, late] = [new Browser(`http://127.0.0.1:${port}`), new Browser(`http://127.0.0.1:${port}`)];
  const stages = ['From express-session', '1. Replace the store', '2. Run both libraries', '3. Remove express-session'];
  for (const stage of stages) {
    await run(stage, 0, port);
    if (stage === stages[0]) for (const one of [browser, late]) await one.visit('/login?user=grace', POST);
    expect([stage, (await browser.visit('/me')).body]).toEqual([stage, { id: 'grace' }]);
    if (stage === stages[2]) expect((await late.visit('/me')).body).toEqual({ id: 'grace' });
    await signInAndOut(new Browser(`http://127.0.0.1:${port}`));
  }
  expect((await browser.visit('/logout', POST)).status).toBe(200);
  expect((await browser.visit('/me')).status).toBe(401);
});

it('from express-session: no stage ends with its connections to Redis', async () => {
  const port = await freePort();
  for (const stage of ['From express-session', '1. Replace the store', '2. Run both libraries']) {
    await run(stage, 0, port);
    await ask(server, 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    const browser = new Browser(`http://127.0.0.1:${port}`);
    const login = async () => (await browser.visit('/login?user=grace', POST)).status === 200;
    await until(`${stage}: users sign in again`, login, 10_000);
  }
});

it('from express-session: no stage answers a login that a full Redis refuses with 200', async () => {
  const port = await freePort();
  for (const stage of ['From express-session', '1. Replace the store', '2. Run both libraries']) {
    await run(stage, 0, port);
    await ask(server, 'CONFIG', 'SET', 'maxmemory', '1');
    const { status } = await new Browser(`http://127.0.0.1:${port}`).visit('/login?user=grace', POST);
    await ask(server, 'CONFIG', 'SET', 'maxmemory', '0');
    expect([stage, status]).toEqual([stage, stage === 'From express-session' ? 500 : 503]);
  }
});

it('from express-session: the keys that it has left can be deleted', async () => {
  const port = await freePort();
  const browser = new Browser(`http://127.0.0.1:${port}`);
  await run('1. Replace the store', 0, port);
  await browser.visit('/login?user=hopper', POST);
  await run('2. Run both libraries', 0, port);
  await browser.visit('/me');
  const [, snippet] = programs.get('3. Remove express-session') ?? [];
  const mounted = 'app.use(sessionMiddleware(sessions));\n';
  const showing = "app.get('/data', async (req, res) => res.json(await req.session.data.getAll()));\n";
  const last = '3. Remove express-session';
  await run(last, 0, port, (text) => text.replace(mounted, `${mounted}${showing}`));
  expect((await browser.visit('/data')).body).toEqual({
    cookie: expect.objectContaining({ originalMaxAge: null }),
    userId: 'hopper',
    loginAt: expect.any(Number),
  });
  await run(last, 0, port, (text) => text.replace(mounted, `${mounted}${snippet?.text}${showing}`));
  expect((await browser.visit('/data')).body).toEqual({ userId: 'hopper', loginAt: expect.any(Number) });
  expect((await browser.visit('/me')).body).toEqual({ id: 'hopper' });
  expect((await new Browser(`http://127.0.0.1:${port}`).visit('/data')).body).toEqual({});
});

it.each([0, 1])('passport, program %i: signs in and out, and shows why a login failed', async (index) => {
  const browser = await open('Sign in with passport', index);
  const login = (password: string) =>
    browser.visit('/login', { method: 'POST', body: new URLSearchParams({ username: 'ada', password }) });
  const refused = await login('wrong');
  expect([refused.status, refused.headers.get('location')]).toEqual([302, '/messages']);
  expect((await browser.visit('/messages')).body).toEqual(['Wrong password.']);
  expect((await browser.visit('/messages')).body).toEqual([]);
  expect((await login('right')).body).toEqual({ id: 'ada' });
  expect((await browser.visit('/me')).body).toEqual({ id: 'ada' });
  expect((await browser.visit('/logout', POST)).status).toBe(200);
  expect((await browser.visit('/me')).status).toBe(401);
});

it.each([
  ['passport-oauth2', 0],
  ['openid-client', 1],
])('%s signs in the browser that began the flow, once', async (_, index) => {
  const provider = await startOAuthServer();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const settings = { ISSUER: provider.origin, CLIENT_ID: CLIENT.id, CLIENT_SECRET: CLIENT.secret, ORIGIN: url };
  await run('Sign in with OAuth 2 or OpenID Connect', index, port, (text) =>
    text
      .replace('CLIENT_SECRET, ORIGIN } = process.env', `CLIENT_SECRET, ORIGIN } = ${JSON.stringify(settings)}`)
      // The provider of the test has no TLS.
      .replace('CLIENT_SECRET);', 'CLIENT_SECRET, undefined, { execute: [openid.allowInsecureRequests] });'),
  );
  const browser = new Browser(url);
  const { headers } = await browser.visit('/login');
  const there = await fetch(headers.get('location') as string, { redirect: 'manual' });
  const back = there.headers.get('location') as string;
  const stranger = new Browser(url);
  expect((await stranger.visit(back)).status).toBe(403);
  expect((await browser.visit(back)).headers.get('location')).toBe('/me');
  expect((await browser.visit('/me')).body).toEqual({ id: 'ada' });
  expect((await browser.visit(back)).status).toBe(403);
  await provider.close();
});

it.each([
  ['From koa-session', 0],
  ['From koa-session', 1],
  ['From iron-session', 0],
] as const)('%s, program %i: signs in and out', async (chapter, index) => {
  await signInAndOut(await open(chapter, index));
});

it.each([
  ['From redis-sessions', 0],
  ['From redis-sessions', 1],
  ['From gosession', 0],
] as const)('%s, program %i: signs in and out by a token in a header', async (chapter, index) => {
  await signInAndOutByHeader(await open(chapter, index));
});

async function signInAndOutByHeader(browser: Browser): Promise<void> {
  expect((await browser.visit('/me')).status).toBe(401);
  const { body } = await browser.visit('/login?user=ada', POST);
  const headers = { Authorization: `Bearer ${body.token}` };
  expect((await browser.visit('/me', { headers })).body).toEqual({ id: 'ada' });
  expect((await browser.visit('/logout', { ...POST, headers })).status).toBe(200);
  expect((await browser.visit('/me', { headers })).status).toBe(401);
}

it('from JWT: a JWT outlives its logout and is exchanged for a session; program 1 takes it in a header', async () => {
  const port = await freePort();
  const browser = new Browser(`http://127.0.0.1:${port}`);
  await run('From JWT', 0, port);
  const { body } = await browser.visit('/login?user=ada', POST);
  const jwt = { Authorization: `Bearer ${body.token}` };
  await browser.visit('/logout', { ...POST, headers: jwt });
  expect((await browser.visit('/me', { headers: jwt })).body).toEqual({ id: 'ada' });
  await run('From JWT', 1, port);
  expect((await browser.visit('/me', { headers: jwt })).status).toBe(401);
  expect((await browser.visit('/exchange', POST)).status).toBe(401);
  const { body: session } = await browser.visit('/exchange', { ...POST, headers: jwt });
  const headers = { Authorization: `Bearer ${session.token}` };
  expect((await browser.visit('/me', { headers })).body).toEqual({ id: 'ada' });
  await signInAndOutByHeader(browser);
});

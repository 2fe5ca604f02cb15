/*
 * `npm run try:next`: builds examples/next with Next.js and the packed package, starts it, and asks it as a browser
 * would. Not among the tests, because Next takes 340 MB and minutes.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import { ROOT } from './doc-pages';
import { freePort, startRedis } from './redis-server';
import { SECRET } from './stores';
import { until } from './until';

const SIGNED_OUT = 'Nobody is signed in.';

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tokensession-next-'));
  const redis = await startRedis();
  const store = new RedisStore(redis.url);
  const elsewhere = new TokenManager({ store, secret: SECRET });
  let next: ChildProcess | undefined;
  try {
    await step('install', () => install(folder));
    // Without the environment of the application: a build has no Redis.
    await step('next build', () => run(join(folder, 'node_modules/.bin/next'), ['build'], folder));
    const port = await freePort();
    next = spawn(process.execPath, ['node_modules/next/dist/bin/next', 'start', '-p', String(port)], {
      cwd: folder,
      env: { ...environment(), REDIS_URL: redis.url, SESSION_SECRET: SECRET },
      stdio: 'inherit',
    });
    const browser = new Browser(`http://localhost:${port}`);
    await until('next start listens', () => browser.isAnswered());
    await step('route handlers', () => tryRoutes(browser, elsewhere));
    await step('server functions', () => tryFunctions(browser, elsewhere));
    await step('Redis stopped', async () => {
      await browser.send('POST', '/api/login');
      await redis.kill();
      const refused = await browser.send('GET', '/api/me');
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '1']);
    });
  } finally {
    if (next?.kill()) await once(next, 'exit');
    await elsewhere.close();
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function tryRoutes(browser: Browser, elsewhere: TokenManager): Promise<void> {
  // The page first: it must not matter whose copy of a module was there before.
  assert.match(await browser.page(), new RegExp(SIGNED_OUT));
  assert.equal((await browser.send('GET', '/api/me')).status, 401);
  const login = await browser.send('POST', '/api/login');
  assert.deepEqual([login.status, login.headers.get('cache-control')], [200, 'no-store']);
  assert.match(login.headers.get('set-cookie') ?? '', /^__Host-session=.*; HttpOnly; Secure; SameSite=Lax$/);
  assert.deepEqual(await (await browser.send('GET', '/api/me')).json(), ADA);
  assert.match(await browser.page(), /Hello, Ada Lovelace/);

  const foreign = await browser.send('POST', '/api/logout', { origin: 'https://elsewhere.example' });
  assert.equal(foreign.status, 403);
  assert.equal((await browser.send('GET', '/api/me')).status, 200);
  assert.equal((await browser.send('POST', '/api/logout')).status, 204);
  assert.equal(browser.cookie, '');
  assert.match(await browser.page(), new RegExp(SIGNED_OUT));

  const redirected = await browser.send('POST', '/api/enter');
  assert.deepEqual([redirected.status, redirected.headers.get('location')], [307, '/']);
  assert.match(await browser.page(), /Hello, Ada Lovelace/);

  assert.equal(await elsewhere.deleteUserToken('ada', { message: 'signed out by the support' }), 1);
  const kicked = await browser.send('GET', '/api/me');
  assert.equal(kicked.status, 401);
  assert.deepEqual(await kicked.json(), {
    error: 'unauthenticated',
    reason: 'revoked',
    message: 'signed out by the support',
  });
  assert.match(await browser.page(), /signed out by the support/);
}

async function tryFunctions(browser: Browser, elsewhere: TokenManager): Promise<void> {
  const login = await browser.submit({ user: 'ada' });
  assert.deepEqual([login.status, login.headers.get('location')], [303, '/']);
  assert.match(login.headers.get('set-cookie') ?? '', /^__Host-session=.*; Secure; HttpOnly; SameSite=lax$/);
  assert.match(await browser.page(), /Hello, Ada Lovelace/);
  assert.equal((await elsewhere.listUserSessions('ada')).length, 1);

  const { cookie } = browser;
  assert.equal((await browser.submit({}, { origin: 'https://elsewhere.example' })).status, 500);
  assert.equal((await elsewhere.listUserSessions('ada')).length, 1);
  const logout = await browser.submit({});
  assert.deepEqual([logout.status, browser.cookie], [200, '']);
  assert.match(await logout.text(), new RegExp(SIGNED_OUT));
  assert.equal((await elsewhere.listUserSessions('ada')).length, 0);
  assert.match(await browser.page(), new RegExp(SIGNED_OUT));
  browser.cookie = cookie;
  assert.equal((await browser.send('GET', '/api/me')).status, 401);
}

const ADA = { id: 'ada', detail: { name: 'Ada Lovelace' } };

/** Keeps the session's cookie, and knows the form of the page. */
class Browser {
  readonly #url: string;
  cookie = '';

  constructor(url: string) {
    this.#url = url;
  }

  isAnswered(): Promise<boolean> {
    return fetch(this.#url).then(
      () => true,
      () => false,
    );
  }

  async send(method: string, path: string, headers: Record<string, string> = {}, body: FormData | null = null) {
    const sent = method === 'GET' ? { cookie: this.cookie } : { cookie: this.cookie, origin: this.#url, ...headers };
    const response = await fetch(this.#url + path, { method, headers: sent, body, redirect: 'manual' });
    for (const line of response.headers.getSetCookie())
      this.cookie = /Max-Age=0|Expires=Thu, 01 Jan 1970/.test(line) ? '' : (line.split(';')[0] ?? '');
    return response;
  }

  async page(): Promise<string> {
    const response = await this.send('GET', '/');
    assert.equal(response.status, 200);
    return response.text();
  }

  /** Sends the page's form as a browser without JavaScript does. */
  async submit(fields: Record<string, string>, headers: Record<string, string> = {}): Promise<Response> {
    const [, name] = /<input type="hidden" name="(\$ACTION_ID_\w+)"/.exec(await this.page()) ?? [];
    assert(name !== undefined, 'the page has no form');
    const form = new FormData();
    for (const [key, value] of Object.entries({ [name]: '', ...fields })) form.set(key, value);
    return this.send('POST', '/', headers, form);
  }
}

async function install(folder: string): Promise<void> {
  await cp(join(ROOT, 'examples/next'), folder, {
    recursive: true,
    filter: (path) => !/[\\/](node_modules|\.next)$/.test(path),
  });
  const packed = await run('npm', ['pack', '--pack-destination', folder, '--silent'], ROOT);
  await run('npm', ['ci', '--no-audit', '--no-fund'], folder);
  const tarball = `./${packed.trim().split('\n').at(-1)}`;
  await run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--prefer-offline', tarball], folder);
}

/** Of what npm says to the programs that it runs, nothing is for the npm in another folder. */
function environment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(
    ([name]) => !/^(npm_.*|REDIS_URL|SESSION_SECRET|NODE_ENV)$/i.test(name),
  );
  return { ...Object.fromEntries(entries), NEXT_TELEMETRY_DISABLED: '1' } as NodeJS.ProcessEnv;
}

async function run(program: string, args: string[], cwd: string): Promise<string> {
  const done = promisify(execFile)(program, args, { cwd, env: environment() });
  const { stdout } = await done.catch((error) => {
    throw new Error(`${program} ${args.join(' ')} failed:\n${error.stdout}\n${error.stderr}`);
  });
  return stdout;
}

async function step(name: string, act: () => Promise<unknown>): Promise<void> {
  const began = performance.now();
  await act();
  console.log(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
}

main().catch((error) => {
  console.error(error instanceof SessionError ? error.code : error);
  process.exitCode = 1;
});

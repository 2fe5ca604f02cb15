import { randomBytes } from 'node:crypto';
import express, { type Express, type Request, type Response } from 'express';
import { MemoryStore, RedisStore, TokenManager } from 'tokensession';
import { requireRecentLogin, requireUser, safeReturnTo, sessionMiddleware } from 'tokensession/express';
import { listen } from '../support/apps';
import { Browser } from '../support/browser';
import { CertificateAuthority } from '../support/certificates';
import { closeAfterEach } from '../support/closing';
import { blocks, pageText, section } from '../support/doc-pages';
import { startRedis } from '../support/redis-server';
import { runSnippet } from '../support/run-snippet';
import { PATIENT, SECRET } from '../support/stores';

const onClose = closeAfterEach();

/** Sends a request of a browser. A body that is no text goes as JSON. */
const send = (browser: Browser, method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  browser.visit(path, {
    method,
    headers: { ...(body !== undefined && { 'Content-Type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });

let passwords: Map<string, string>;
const USERS = [
  { id: 17, name: 'ada' },
  { id: 18, name: 'bob' },
];

interface Setting {
  /** The index of the block in the section. Default 0. */
  block?: number;
  sessions?: TokenManager;
  /** Whether the recipe requires the middleware to be mounted already. Default false. */
  isMounted?: boolean;
}

/** An application that contains the recipe under this heading. */
async function serve(page: string, heading: string, setting: Setting = {}) {
  const app: Express = express();
  app.use(express.json());
  const { sessions = new TokenManager({ store: new MemoryStore(), secret: SECRET }) } = setting;
  if (setting.isMounted) app.use(sessionMiddleware(sessions));
  passwords = new Map([
    ['17', 'open sesame'],
    ['18', 'swordfish'],
  ]);
  await runSnippet(recipe(page, heading, setting.block), {
    ...{ app, sessions, sessionMiddleware, requireUser, requireRecentLogin, safeReturnTo },
    checkPassword: async (name: string, password: string) =>
      USERS.find((user) => user.name === name && passwords.get(String(user.id)) === password) ?? null,
    savePassword: async (userId: string, password: string) => passwords.set(userId, password),
    checkCode: async (_userId: string, code: string) => code === '123456',
  });
  app.get('/test/session', (req, res) => {
    res.json({ user: req.session.user, id: req.session.id, actor: req.session.actor });
  });
  app.post('/test/login', async (req, res) => {
    res.json({ token: await req.session.login('17') });
  });
  app.get('/test/data', async (req, res) => {
    res.json(await req.session.data.getAll());
  });
  app.use((error: { status?: number }, _req: Request, res: Response, _next: unknown) => {
    res.status(error.status ?? 500).json({ error: String(error) });
  });
  const running = await listen(app);
  onClose(() => running.close());
  return { browser: () => new Browser(running.url), sessions };
}

const recipe = (page: string, heading: string, block = 0) => blocks('ts', section(page, heading))[block] as string;

/** The value of this name after an independent snippet has run in this environment. */
async function made<Value>(text: string, name: string, env: Record<string, string>): Promise<Value> {
  const before = { ...process.env };
  Object.assign(process.env, env);
  let value: unknown;
  const keep = (given: unknown) => {
    value = given;
  };
  try {
    await runSnippet(`${text}\nkeep(${name});`, { TokenManager, RedisStore, keep });
    return value as Value;
  } finally {
    process.env = before;
  }
}

const ADA = { name: 'ada', password: 'open sesame' };

it('a page with a login form returns the user to the page that they asked for', async () => {
  const browser = (await serve('docs/recipes.md', 'A page with a login form')).browser();
  const refused = await send(browser, 'GET', '/account', undefined, { Accept: 'text/html' });
  expect([refused.status, refused.headers.get('location')]).toEqual([303, '/login?returnTo=%2Faccount']);
  expect((await send(browser, 'GET', '/login?returnTo=%2Faccount')).text).toContain('<form method="post">');
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const wrong = await send(browser, 'POST', '/login?returnTo=%2Faccount', 'name=ada&password=wrong', form);
  expect(wrong.status).toBe(401);
  const right = await send(browser, 'POST', '/login?returnTo=%2Faccount', 'name=ada&password=open+sesame', form);
  expect([right.status, right.headers.get('location')]).toEqual([303, '/account']);
  expect((await send(browser, 'GET', '/account')).text).toBe('You are user 17');
  const astray = await send(browser, 'POST', '/login?returnTo=//evil.example', 'name=ada&password=open+sesame', form);
  expect(astray.headers.get('location')).toBe('/');
});

it('an API for a single-page app serves its page’s origin and refuses another', async () => {
  const { browser: open } = await serve('docs/recipes.md', 'An API for a single-page app on another origin');
  const browser = open();
  const page = { Origin: 'http://localhost:5173', 'Sec-Fetch-Site': 'same-site' };
  const preflight = await send(browser, 'OPTIONS', '/login', undefined, {
    ...page,
    'Access-Control-Request-Method': 'POST',
  });
  expect(preflight.headers.get('access-control-allow-origin')).toBe('http://localhost:5173');
  expect(preflight.headers.get('access-control-allow-credentials')).toBe('true');
  expect((await send(browser, 'POST', '/login', ADA, page)).body).toEqual({ id: '17' });
  const me = await send(browser, 'GET', '/me', undefined, page);
  expect([me.body, me.headers.get('access-control-allow-origin')]).toEqual([{ id: '17' }, 'http://localhost:5173']);
  const elsewhere = { Origin: 'http://evil.example', 'Sec-Fetch-Site': 'cross-site' };
  expect((await send(open(), 'POST', '/login', ADA, elsewhere)).status).toBe(403);
});

it('log out everywhere ends every session, and log out of other devices all but this one', async () => {
  const { browser: open } = await serve('docs/recipes.md', 'Log out everywhere');
  const [one, two, three] = [open(), open(), open()];
  for (const browser of [one, two, three]) await send(browser, 'POST', '/test/login', {});
  expect((await send(one, 'POST', '/logout-other-devices')).body).toEqual({ ended: 2 });
  const refused = await send(two, 'POST', '/logout-everywhere');
  const message = 'Signed out on another device';
  expect([refused.status, refused.body]).toEqual([401, { error: 'unauthenticated', reason: 'revoked', message }]);
  await send(two, 'POST', '/test/login', {});
  expect((await send(one, 'POST', '/logout-everywhere')).status).toBe(204);
  for (const browser of [one, two, three]) expect((await send(browser, 'GET', '/test/session')).body.user).toBeNull();
});

it('a password change needs a recent proof, and ends the sessions on other devices', async () => {
  let now = Date.now();
  const store = new MemoryStore({ now: () => now });
  const sessions = new TokenManager({ store, secret: SECRET });
  const { browser: open } = await serve('docs/recipes.md', 'Change a password', { sessions });
  const [one, two] = [open(), open()];
  for (const browser of [one, two]) await send(browser, 'POST', '/test/login', {});
  now += 301_000;
  const refused = await send(one, 'POST', '/password', { password: 'new' });
  expect([refused.status, refused.body]).toEqual([403, { error: 'reauthentication_required' }]);
  expect((await send(one, 'POST', '/confirm', { name: 'bob', password: 'swordfish' })).status).toBe(403);
  expect((await send(one, 'POST', '/confirm', { name: 'ada', password: 'wrong' })).status).toBe(403);
  expect((await send(one, 'POST', '/confirm', ADA)).status).toBe(204);
  expect((await send(one, 'POST', '/password', { password: 'new' })).status).toBe(204);
  expect(passwords.get('17')).toBe('new');
  expect((await send(one, 'GET', '/test/session')).body.user).toEqual({ id: '17' });
  expect((await send(two, 'POST', '/password', {})).body).toMatchObject({ message: 'Your password was changed' });
});

it('logins are limited by name and address, and requests by user or address', async () => {
  const { browser: open } = await serve('docs/recipes.md', 'Limit the rate of logins');
  const browser = open();
  const wrong = { name: 'ada', password: 'wrong' };
  for (let i = 0; i < 5; i++) expect((await send(browser, 'POST', '/login', wrong)).status).toBe(401);
  expect((await send(browser, 'POST', '/login', ADA)).status).toBe(429);
  expect((await send(browser, 'POST', '/login', { name: 'bob', password: 'swordfish' })).status).toBe(204);
  for (let i = 0; i < 60; i++) expect((await send(browser, 'GET', '/test/session')).status).toBe(200);
  const statuses = new Set<number>();
  for (let i = 0; i < 60; i++) statuses.add((await send(open(), 'GET', '/test/session')).status);
  expect([...statuses]).toEqual([200, 429]);
});

it('a second factor signs in only a user who gave the password and then the code', async () => {
  const browser = (await serve('docs/recipes.md', 'Ask for a second factor')).browser();
  expect((await send(browser, 'POST', '/code', { code: '123456' })).status).toBe(401);
  expect((await send(browser, 'POST', '/password', ADA)).body).toEqual({ next: '/code' });
  expect((await send(browser, 'GET', '/test/session')).body.user).toBeNull();
  expect((await send(browser, 'POST', '/code', { code: '000000' })).status).toBe(401);
  expect((await send(browser, 'POST', '/code', { code: '123456' })).status).toBe(401);
  await send(browser, 'POST', '/password', ADA);
  const now = Date.now();
  const late = jest.spyOn(Date, 'now').mockReturnValue(now + 300_001);
  expect((await send(browser, 'POST', '/code', { code: '123456' })).status).toBe(401);
  late.mockRestore();
  await send(browser, 'POST', '/password', ADA);
  expect((await send(browser, 'POST', '/code', { code: '123456' })).body).toEqual({ id: '17' });
  expect((await send(browser, 'GET', '/test/session')).body.user).toEqual({ id: '17' });
});

it.each(['a visitor’s', 'a user’s'])(
  'a second factor is asked of the browser that gave the password alone, where %s cookie was planted',
  async (whose) => {
    const { browser } = await serve('docs/recipes.md', 'Ask for a second factor');
    const thief = browser();
    if (whose === 'a user’s') await send(thief, 'POST', '/test/login', {});
    else await send(thief, 'POST', '/password', { name: 'bob', password: 'swordfish' });
    const victim = thief.tab();
    expect((await send(victim, 'POST', '/password', ADA)).body).toEqual({ next: '/code' });
    expect((await send(thief, 'POST', '/code', { code: '123456' })).status).toBe(401);
    expect((await send(victim, 'POST', '/code', { code: '123456' })).body).toEqual({ id: '17' });
  },
);

it('a login takes over the visitor’s data that it names', async () => {
  const browser = (await serve('docs/session-data.md', 'Keep data before a login', { isMounted: true })).browser();
  expect((await send(browser, 'POST', '/theme', { theme: 'dark' })).status).toBe(204);
  const visitor = (await send(browser, 'GET', '/test/session')).body;
  expect(visitor).toMatchObject({ user: null, id: expect.stringMatching(/^[\w-]{22}$/) });
  expect((await send(browser, 'POST', '/login', ADA)).status).toBe(204);
  expect((await send(browser, 'GET', '/test/session')).body.user).toEqual({ id: '17' });
  expect((await send(browser, 'GET', '/test/data')).body).toEqual({ theme: 'dark' });
});

it('a member of support acts as a user, and everyone can see it', async () => {
  const { browser: open, sessions } = await serve('docs/session-data.md', 'Impersonate a user', { isMounted: true });
  const browser = open();
  expect((await send(browser, 'POST', '/support/act-as/18')).status).toBe(401);
  await send(browser, 'POST', '/test/login', {});
  expect((await send(browser, 'POST', '/support/act-as/18')).status).toBe(204);
  expect((await send(browser, 'GET', '/test/session')).body).toMatchObject({ user: { id: '18' }, actor: '17' });
  expect(await sessions.listUserSessions('18')).toMatchObject([{ actor: '17' }]);
  expect((await send(browser, 'POST', '/support/act-as/17')).status).toBe(403);
});

it('the first recipe logs a user in', async () => {
  const browser = (await serve('docs/recipes.md', 'Recipes')).browser();
  expect((await send(browser, 'POST', '/login', { name: 'ada', password: 'wrong' })).status).toBe(401);
  expect((await send(browser, 'POST', '/login', ADA)).status).toBe(204);
  expect((await send(browser, 'GET', '/test/session')).body.user).toEqual({ id: '17' });
});

it('a new secret signs no user out, and sessions in use get tokens signed with it', async () => {
  const server = await startRedis();
  onClose(() => server.stop());
  const text = recipe('docs/recipes.md', 'Replace a secret without signing anyone out');
  const [before, after] = ['the old secret is long enough to sign with', 'the new secret is long enough to sign with'];
  const deploy = async (...secrets: string[]) => {
    const env = { REDIS_URL: server.url, SESSION_SECRETS: secrets.join(',') };
    const sessions = await made<TokenManager>(text, 'sessions', env);
    const app = express().use(sessionMiddleware(sessions));
    app.get('/', (req, res) => {
      res.json({ user: req.session.user });
    });
    const running = await listen(app);
    onClose(async () => {
      await running.close();
      await sessions.close();
    });
    const visit = async (token: string) => {
      const response = await fetch(running.url, { headers: { Cookie: `session=${token}` } });
      const { user } = (await response.json()) as { user: { id: string } | null };
      return { user: user?.id, token: /^session=([^;]+)/.exec(response.headers.getSetCookie()[0] ?? '')?.[1] ?? token };
    };
    return { sessions, visit };
  };
  const [atFirst, behind, inFront, alone] = [
    await deploy(before),
    await deploy(before, after),
    await deploy(after, before),
    await deploy(after),
  ];
  const token = await atFirst.sessions.setToken('ada');
  expect(await behind.visit(token)).toEqual({ user: 'ada', token });
  // Processes at step 1 and at step 2 accept each other's tokens.
  expect(await behind.visit(await inFront.sessions.setToken('ada'))).toMatchObject({ user: 'ada' });
  const renewed = await inFront.visit(token);
  expect(renewed.user).toBe('ada');
  expect(renewed.token).not.toBe(token);
  expect((await alone.visit(renewed.token)).user).toBe('ada');
  expect((await alone.visit(token)).user).toBeUndefined();
});

it('a store with a private certificate authority reaches a Redis with TLS', async () => {
  const authority = await CertificateAuthority.create();
  onClose(() => authority.remove());
  const certificate = await authority.issue('localhost', '127.0.0.1');
  const server = await startRedis({}, { tls: { certificate, isMutual: false } });
  onClose(() => server.stop());
  const env = { REDIS_URL: server.url, REDIS_CA_FILE: authority.certFile };
  const store = await made<RedisStore>(recipe('docs/redis.md', 'Connect with TLS'), 'store', env);
  onClose(() => store.close());
  const sessions = new TokenManager({ store, secret: SECRET });
  expect(await sessions.checkToken(await sessions.setToken('ada'))).toMatchObject({ user: { id: 'ada' } });
  const stranger = new RedisStore(server.url, PATIENT);
  onClose(() => stranger.close());
  expect((await stranger.health()).status).toBe('down');
});

describe('testing an application', () => {
  const [withClock, withoutServer] = blocks('ts', pageText('docs/testing-your-app.md')) as [string, string];

  /** Runs a snippet in which `visit(headers)` sends a request to its application. */
  const run = async (text: string) => {
    const app = express();
    let url: string | null = null;
    const answers: [status: number, body: unknown][] = [];
    const visit = async (headers: Record<string, string>) => {
      if (url === null) {
        app.get('/', (req, res) => {
          res.json({ user: req.session.user, endReason: req.session.endReason });
        });
        app.use((error: { status: number }, _req: Request, res: Response, _next: unknown) => {
          res.status(error.status).json({});
        });
        const running = await listen(app);
        onClose(() => running.close());
        url = running.url;
      }
      const response = await fetch(url, { headers });
      answers.push([response.status, await response.json()]);
    };
    const given = { app, sessionMiddleware, TokenManager, RedisStore, MemoryStore, randomBytes };
    const keep = (sessions: TokenManager) => onClose(() => sessions.close());
    await runSnippet(`${text}\nkeep(sessions);`, { ...given, visit, keep });
    return answers;
  };

  it('needs no waiting: the test moves the clock of a memory store', async () => {
    const answers = await run(`${withClock.replace(/(?=^now \+=)/m, 'await visit(headers);\n')}await visit(headers);`);
    expect(answers).toEqual([
      [200, { user: { id: 'ada' }, endReason: null }],
      [200, { user: null, endReason: 'expired' }],
    ]);
  });

  it('simulates an outage by a server that does not exist', async () => {
    const visit = 'await visit({ authorization: "Bearer " + token });\n';
    expect(await run(withoutServer.replace(/(?=^await sessions\.close)/m, visit))).toEqual([[503, {}]]);
  });
});

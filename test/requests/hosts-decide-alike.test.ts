import fc from 'fast-check';
import { MemoryStore, TokenManager } from 'tokensession';
import { type Detail, FRAMEWORKS, listen, type RunningApp } from '../support/apps';
import { HOSTS } from '../support/hosts';
import { sendRaw } from '../support/raw-request';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';
import { SECRET } from '../support/stores';

/* One request, all hosts, one verdict. */

interface Request {
  method: string;
  path: string;
  /** Contains token names in braces. */
  headers: string[];
  trustProxy: boolean;
}

const TOKENS = ['ada', 'ada again', 'grace', 'dead', 'banned', 'forged', 'cut'] as const;

const token = fc.constantFrom(...TOKENS.map((name) => `{${name}}`), 'x', '');
const cookieName = fc.constantFrom('session', 'session', 'session', '__Host-session', 'Session', 'sessions', 'x');
const cookie = fc.tuple(
  cookieName,
  fc.constantFrom('=', '=', '=', ' = ', ''),
  token,
  fc.constantFrom('', '', '~', '"'),
);
const cookies = fc.array(
  cookie.map((parts) => parts.join('')),
  { minLength: 1, maxLength: 4 },
);
const separator = fc.constantFrom('; ', '; ', ';', ' ;', ', ');
const cookieHeader = fc.tuple(cookies, separator).map(([all, between]) => `Cookie: ${all.join(between)}`);
const scheme = fc.constantFrom('Bearer ', 'Bearer ', 'bearer  ', 'Bearer', 'Basic ', '');
const authorization = fc.tuple(scheme, token).map((parts) => `Authorization: ${parts.join('')}`);
const site = fc
  .constantFrom('same-origin', 'none', 'same-site', 'cross-site', '', 'x')
  .map((value) => `Sec-Fetch-Site: ${value}`);
const origin = fc
  .constantFrom('https://shop.example.com', 'http://shop.example.com', 'https://evil.example', 'null', '')
  .map((value) => `Origin: ${value}`);
const accept = fc
  .constantFrom('text/html', 'application/json', '*/*', 'text/html;q=0')
  .map((value) => `Accept: ${value}`);
const proxy = fc.constantFrom(
  'X-Forwarded-Proto: https',
  'X-Forwarded-Proto: http',
  'X-Forwarded-Host: shop.example.com',
  'X-Forwarded-Host: evil.example',
  'X-Forwarded-For: 192.0.2.1',
);
const others = fc.constantFrom(
  'Upgrade: websocket',
  'X-HTTP-Method-Override: GET',
  'User-Agent: x',
  'X-Session-Token: x',
);
const header = fc.oneof(
  { weight: 4, arbitrary: cookieHeader },
  { weight: 2, arbitrary: authorization },
  ...[site, origin, accept, proxy, others].map((arbitrary) => ({ weight: 1, arbitrary })),
);
/** Of several forwarded values, hosts trust the first or the last. */
const isFirstForwarded = (line: string, index: number, all: string[]) =>
  !line.startsWith('X-') || all.findIndex((other) => other.startsWith(line.slice(0, line.indexOf(':')))) === index;

const request: fc.Arbitrary<Request> = fc.record({
  method: fc.constantFrom('GET', 'GET', 'POST', 'POST', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND'),
  path: fc.constantFrom(
    '/session',
    '/me',
    '/page',
    '/page?a=b%2f',
    '/vault',
    '/login?user=ada',
    '/logout',
    '/logout?everywhere',
  ),
  headers: fc
    .tuple(
      fc.constantFrom('shop.example.com', 'shop.example.com', 'Shop.Example.com:443', 'evil.example', 'a b', ''),
      fc.array(header, { maxLength: 5 }),
    )
    .map(([host, all]) => [`Host: ${host}`, ...all.filter(isFirstForwarded)]),
  trustProxy: fc.boolean(),
});

const HOST = 'Host: shop.example.com';
const EXAMPLES: Request[] = [
  { method: 'GET', path: '/page?a=b', headers: [HOST, 'Accept: text/html'], trustProxy: false },
  { method: 'GET', path: '/me', headers: [HOST, 'Cookie: session={banned}'], trustProxy: false },
  { method: 'POST', path: '/logout', headers: [HOST, 'Cookie: session={ada}; session={grace}'], trustProxy: true },
  { method: 'POST', path: '/me', headers: [HOST, 'Cookie: session={ada}', 'Origin: null'], trustProxy: true },
];

const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
const apps: Record<string, RunningApp[]> = {};

beforeAll(async () => {
  for (const [name, build] of Object.entries(FRAMEWORKS)) {
    apps[name] = await Promise.all(
      [false, true].map((trustProxy) => listen(build(manager, { trustProxy, clearSiteData: true }))),
    );
  }
});
afterAll(async () => {
  for (const app of Object.values(apps).flat()) await app.close();
  await manager.close();
});

let users = 0;

/** Tokens of each kind, each of its own user. */
async function newTokens(): Promise<Record<string, string>> {
  const [ada, grace, eve] = ['ada', 'grace', 'eve'].map((name) => `${name} ${users++}`) as [string, string, string];
  const tokens = {
    ada: await manager.setToken(ada),
    'ada again': await manager.setToken(ada),
    grace: await manager.setToken(grace),
  };
  const [dead, banned] = [await manager.setToken(grace), await manager.setToken(eve)];
  await manager.deleteToken(dead);
  await manager.banUser(eve, { reason: 'spam' });
  const forged = tokens.ada.slice(0, -4) + (tokens.ada.endsWith('AAAA') ? 'BBBB' : 'AAAA');
  return { ...tokens, dead, banned, forged, cut: tokens.grace.slice(0, 60) };
}

const COMPARED = ['www-authenticate', 'retry-after', 'cache-control', 'vary', 'location', 'clear-site-data'];

/** The response of a host, without values that change from run to run. */
async function verdictOf(name: string, { method, path, headers, trustProxy }: Request) {
  const tokens = await newTokens();
  const filled = headers.map((line) => line.replace(/\{(.*?)\}/g, (_, token: string) => tokens[token] as string));
  const app = apps[name]?.[Number(trustProxy)] as RunningApp;
  const { status, headers: fields, setCookie, text } = await sendRaw(app.url, method, path, filled);
  const named = (value: string) => {
    const kind = Object.keys(tokens).find((token) => value.startsWith(tokens[token] as string));
    return kind ?? (manager.isToken(value.replace(/[;~].*/, '')) ? 'new' : value);
  };
  const live = await Promise.all(
    TOKENS.map(async (kind) => (await manager.checkToken(tokens[kind] as string)) !== null),
  );
  return {
    status,
    user: /"user":\{"id":"(\w+)/.exec(text)?.[1] ?? null,
    reason: /"reason":"(\w+)"/.exec(text)?.[1] ?? null,
    cookies: setCookie.map((line) => line.replace(/=([^;]+)/, (_, value: string) => `=${named(value)}`)),
    headers: fields.filter(([field]) => COMPARED.includes(field)).sort(),
    live,
  };
}

it(
  'every host decides each request alike',
  async () => {
    const statuses = new Set<number>();
    await fc.assert(
      fc.asyncProperty(request, async (sent) => {
        const expected = await verdictOf('Express 5', sent);
        statuses.add(expected.status);
        for (const [name, host] of Object.entries(HOSTS)) {
          const verdict = await verdictOf(name, sent);
          // This host refuses a request whose host is invalid.
          if (!host.takesAnyHost && verdict.status === 400) continue;
          expect({ name, ...verdict }).toEqual({ name, ...expected });
        }
      }),
      { ...runs(150), examples: EXAMPLES.map((one) => [one] as [Request]) },
    );
    expect([...statuses].sort()).toEqual(expect.arrayContaining([200, 303, 401, 403]));
  },
  PROPERTY_TIMEOUT,
);

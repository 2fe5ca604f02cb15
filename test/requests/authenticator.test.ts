import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { MemoryStore, RedisStore, SessionError, TokenManager, type TokenManagerOptions } from 'tokensession';
import {
  type Authentication,
  type AuthenticatorOptions,
  authenticator,
  type ConnectionDetails,
} from 'tokensession/live';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import { sendRaw } from '../support/raw-request';
import { freePort } from '../support/redis-server';
import { runs } from '../support/runs';
import { SECRET } from '../support/stores';

const closing = closeAfterEach();

const HOST = 'Host: shop.example.com';
const OWN = 'Origin: https://shop.example.com';
const UPGRADE = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];

/** A server that authenticates requests and upgrades, and answers with the result. */
async function start(
  options?: AuthenticatorOptions,
  policy: Partial<TokenManagerOptions<unknown>> = {},
  details?: (req: IncomingMessage) => ConnectionDetails,
) {
  const { store, calls } = countedStore(policy.store ?? new MemoryStore());
  const manager = new TokenManager({ secret: SECRET, ...policy, store });
  const authenticate = authenticator(manager, options);
  const seen: Authentication[] = [];
  const judge = async (req: IncomingMessage) => {
    const found = await authenticate(req, details?.(req));
    seen.push(found);
    const status = found.error?.status ?? 200;
    return { status, body: JSON.stringify(found.session?.user ?? found.error?.code ?? null) };
  };
  const server = createServer(async (req, res) => {
    const { status, body } = await judge(req);
    res.writeHead(status, { Connection: 'close', 'Content-Length': body.length }).end(body);
  });
  server.on('upgrade', async (req, socket) => {
    const { status, body } = await judge(req);
    socket.end(`HTTP/1.1 ${status} So\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing(async () => {
    server.closeAllConnections();
    server.close();
    await manager.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const token = await manager.setToken('ada');
  calls.splice(0);
  const cookie = `Cookie: session=${token}`;
  const send = async (...headers: string[]) => {
    const { status, text } = await sendRaw(url, 'GET', '/live', headers);
    return [status, JSON.parse(text || 'null')];
  };
  return { manager, authenticate, send, token, cookie, calls, seen };
}

const ADA = { id: 'ada' };

describe.each([
  ['an upgrade', UPGRADE],
  ['a plain GET, such as a stream of events', []],
])('%s', (_, more) => {
  it('from our own page, or from a client that is no browser, gets its session', async () => {
    const { send, cookie, token, seen } = await start();
    for (const from of [[], [OWN], ['Sec-Fetch-Site: same-origin']]) {
      expect(await send(HOST, cookie, ...from, ...more)).toEqual([200, ADA]);
      expect(await send(HOST, `Authorization: Bearer ${token}`, ...from, ...more)).toEqual([200, ADA]);
    }
    expect(seen[0]?.session).toMatchObject({ token, user: ADA, expiresAt: expect.any(Date) });
  });

  it.each([
    ['a page of another site', ['Sec-Fetch-Site: cross-site']],
    ['a page of another subdomain', ['Sec-Fetch-Site: same-site', 'Origin: https://blog.example.com']],
    ['an older browser on a page of another origin', ['Origin: https://evil.example']],
    ['a sandboxed frame', ['Origin: null']],
    ['another port', ['Origin: https://shop.example.com:8443']],
    ['Origin twice', [OWN, OWN]],
    ['Host twice', ['Host: evil.example', OWN]],
  ])('of %s is refused, with and without a cookie, without a call to the store', async (_case, from) => {
    const { send, cookie, calls } = await start();
    expect(await send(HOST, cookie, ...from, ...more)).toEqual([403, 'ERR_CROSS_ORIGIN']);
    expect(await send(HOST, ...from, ...more)).toEqual([403, 'ERR_CROSS_ORIGIN']);
    expect(await send(HOST, 'Authorization: Bearer nonsense', cookie, ...from, ...more)).toEqual([
      403,
      'ERR_CROSS_ORIGIN',
    ]);
    expect(calls).toEqual([]);
  });

  it('from another origin gets its session with a trusted origin, a token in the header, or the check switched off', async () => {
    const from = 'Origin: https://evil.example';
    const { send, token } = await start();
    expect(await send(HOST, from, `Authorization: Bearer ${token}`, ...more)).toEqual([200, ADA]);
    const trusting = await start({ trustedOrigins: ['https://evil.example'] });
    expect(await trusting.send(HOST, from, trusting.cookie, ...more)).toEqual([200, ADA]);
    const open = await start({ crossOrigin: 'allow' });
    expect(await open.send(HOST, from, open.cookie, ...more)).toEqual([200, ADA]);
  });

  it('without a token, or with an invalid one, gets no session, without a call to the store', async () => {
    const { send, calls } = await start();
    for (const none of [[], ['Cookie: session=nonsense'], ['Authorization: Bearer x'], ['Cookie: other=1']]) {
      expect(await send(HOST, ...none, ...more)).toEqual([401, 'ERR_UNAUTHENTICATED']);
    }
    expect(calls).toEqual([]);
  });

  it('whose session has ended gets the reason for the end', async () => {
    const { send, manager, cookie, seen } = await start();
    await manager.deleteUserToken('ada', { message: 'signed out on Firefox at 14:02' });
    expect(await send(HOST, cookie, ...more)).toEqual([401, 'ERR_SESSION_ENDED']);
    expect(seen[0]?.error).toMatchObject({ endReason: 'revoked', endMessage: 'signed out on Firefox at 14:02' });
  });

  it('with cookies of two users gets no session', async () => {
    const { send, manager, cookie } = await start();
    const other = await manager.setToken('grace');
    expect(await send(HOST, `${cookie}; session=${other}`, ...more)).toEqual([409, 'ERR_TOKEN_CONFLICT']);
  });

  it('with a cookie of its user and one of a visitor, which a subdomain can plant, gets the user', async () => {
    const { send, manager, cookie } = await start();
    const visitor = await requestSessionsOf(manager).startVisitor(new Map([['cart', '[]']]));
    for (const both of [
      `${cookie}; session=${visitor.token}`,
      `Cookie: session=${visitor.token}; ${cookie.slice(8)}`,
    ]) {
      expect(await send(HOST, both, ...more)).toEqual([200, ADA]);
    }
    expect(await send(HOST, `Cookie: session=${visitor.token}`, ...more)).toEqual([401, 'ERR_UNAUTHENTICATED']);
  });
});

it('slides the session, like any HTTP request', async () => {
  const { send, cookie, calls } = await start();
  await send(HOST, cookie);
  expect(calls).toEqual(['touch']);
});

it('a token passed as an argument acts alone, from any origin; an invalid one is ignored', async () => {
  const { manager, authenticate, token } = await start();
  const foreign = { headers: { host: 'shop.example.com', origin: 'https://evil.example', cookie: '' } };
  expect((await authenticate(foreign, { token })).session?.user).toEqual(ADA);
  for (const wrong of [undefined, null, 7, '', {}, ['x'], `${token}x`]) {
    expect((await authenticate(foreign, { token: wrong })).error?.code).toBe('ERR_CROSS_ORIGIN');
    expect((await authenticate({ headers: {} }, { token: wrong })).error?.code).toBe('ERR_UNAUTHENTICATED');
  }
  const grace = await manager.setToken('grace');
  const headers = { cookie: `session=${token}` };
  expect((await authenticate({ headers }, { token: grace })).session?.user.id).toBe('grace');
  expect((await authenticate({ headers }, { token: 'nonsense' })).session?.user.id).toBe('ada');
});

it('trusts the host and protocol that a proxy forwards only where the options say so', async () => {
  const { authenticate, token } = await start();
  const headers = { host: 'inner:80', origin: 'https://shop.example.com', cookie: `__Host-session=${token}` };
  const details = { secure: true, host: 'shop.example.com', ip: '192.0.2.7' };
  expect((await authenticate({ headers }, details)).session?.user).toEqual(ADA);
  expect((await authenticate({ headers }, { host: 'shop.example.com' })).error?.code).toBe('ERR_UNAUTHENTICATED');
  // `Headers` return null for a missing header.
  for (const host of [undefined, null, '', 'shop.example.com\ud800', '*', 'evil.example']) {
    expect((await authenticate({ headers }, { secure: true, host })).error?.code).toBe('ERR_CROSS_ORIGIN');
  }
  const own = { ...headers, host: 'shop.example.com' };
  expect((await authenticate({ headers: own, socket: { encrypted: true } })).session?.user).toEqual(ADA);
});

it('accepts a Request object, too', async () => {
  const { authenticate, token } = await start();
  const of = (url: string, headers: Record<string, string>) => authenticate(new Request(url, { headers }));
  const secure = { cookie: `__Host-session=${token}` };
  expect((await of('https://shop.example.com/live', secure)).session?.user).toEqual(ADA);
  const from = { ...secure, origin: 'https://shop.example.com' };
  expect((await of('https://shop.example.com/live', from)).session?.user).toEqual(ADA);
  expect((await of('https://evil.example/live', from)).error?.code).toBe('ERR_CROSS_ORIGIN');
});

it('gives a visitor no user', async () => {
  const { manager, authenticate } = await start();
  const { token } = await requestSessionsOf(manager).startVisitor(new Map([['cart', '[]']]));
  expect((await authenticate({ headers: {} }, { token })).error?.code).toBe('ERR_UNAUTHENTICATED');
});

it('returns an outage as an error, and rejects with what getUserInfo throws', async () => {
  const store = new RedisStore(`redis://127.0.0.1:${await freePort()}`, { timeoutMs: 500 });
  const { authenticate, token } = await start({}, {}, undefined);
  const down = new TokenManager({ store, secret: SECRET });
  closing(() => down.close());
  const { session, error } = await authenticator(down)({ headers: { authorization: `Bearer ${token}` } });
  expect([session, error?.status]).toEqual([null, 503]);
  expect(error).toBeInstanceOf(SessionError);
  expect((await authenticate({ headers: {} })).session).toBeNull();
  const broken = new TokenManager({
    store: new MemoryStore(),
    secret: SECRET,
    getUserInfo: () => Promise.reject(new Error('the database is away')),
  });
  closing(() => broken.close());
  const other = await broken.setToken('ada');
  await expect(authenticator(broken)({ headers: {} }, { token: other })).rejects.toThrow('the database is away');
});

it('rejects options, requests and details of the wrong type', async () => {
  const { manager, authenticate } = await start();
  const wrong = (options: object) => () => authenticator(manager, options);
  expect(wrong({ onUnavailable: 'error' })).toThrow(/unknown option "onUnavailable"/);
  expect(wrong({ cookie: false, header: false })).toThrow(/no token could ever arrive/);
  expect(wrong({ trustedOrigins: ['evil.example'] })).toThrow(/trustedOrigins\[0\]/);
  expect(() => authenticator({} as TokenManager)).toThrow(TypeError);
  for (const request of [undefined, null, 7, {}, { headers: null }]) {
    await expect(authenticate(request as never)).rejects.toThrow(TypeError);
  }
  for (const details of [{ secure: 'yes' }, { host: 7 }, { ip: 7 }, { proto: 'https' }]) {
    await expect(authenticate({ headers: {} }, details as never)).rejects.toThrow(TypeError);
  }
});

it('survives arbitrary header texts, and calls no store without a signed token', async () => {
  const { authenticate, calls } = await start();
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', 'null', '*', 'Bearer ', 'session=', 'https://', '[::', 'same-origin', '://@', '\0'),
    fc.string().map((value) => `Bearer ${value}`),
    fc.string().map((value) => `session=${value}; session=${value}x`),
  );
  const value = fc.oneof(text, fc.array(text), fc.constant(undefined));
  const names = ['host', 'origin', 'cookie', 'authorization', 'sec-fetch-site', 'upgrade', ':authority', 'get'];
  const headers = fc.record(Object.fromEntries(names.map((name) => [name, value])), { requiredKeys: [] });
  const property = fc.asyncProperty(
    headers,
    fc.array(text),
    text,
    fc.boolean(),
    async (all, rawHeaders, url, secure) => {
      const { session, error } = await authenticate({ headers: all, rawHeaders, url }, { secure, host: url });
      expect([session, [401, 403].includes(error?.status ?? 0)]).toEqual([null, true]);
      expect(calls).toEqual([]);
    },
  );
  await fc.assert(property, runs(500));
});

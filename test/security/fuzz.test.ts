import fc from 'fast-check';
import { MemoryStore, RedisStore, SessionError, TokenManager, type TokenManagerOptions } from 'tokensession';
import type { SessionMiddlewareOptions } from 'tokensession/express';
import { authenticator } from 'tokensession/live';
import { type Detail, FRAMEWORKS, listen } from '../support/apps';
import { anyAttributes, anyOptions, anyValue, headerText, mutatedTokens, userIds } from '../support/arbitraries';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import { ALL_HOSTS, directMiddlewares } from '../support/hosts';
import type { AnySession, DirectRequest } from '../support/hosts/host';
import { holds } from '../support/properties';
import { sendRaw } from '../support/raw-request';
import { PROPERTY_TIMEOUT } from '../support/runs';
import { idOf } from '../support/session-id';
import { everyStore, SECRET } from '../support/stores';
import { within } from '../support/until';

jest.setTimeout(PROPERTY_TIMEOUT);

const USERS = ['ada', 'grace'] as const;

const closing = closeAfterEach();

function opened<Detail>(options: TokenManagerOptions<Detail>): TokenManager<Detail> {
  const manager = new TokenManager<Detail>(options);
  closing(() => manager.close());
  return manager;
}

/** Managers with a store that counts its calls, and two tokens for each of two users. */
async function signedIn() {
  const { store, calls } = countedStore(new MemoryStore());
  const manager = opened<Detail>({ store, secret: SECRET });
  const tokens: string[] = [];
  for (const user of [...USERS, ...USERS]) tokens.push(await manager.setToken(user, 100_000));
  calls.length = 0;
  return { manager, calls, ada: [tokens[0], tokens[2]] as [string, string], tokens };
}

describe('arbitrary bytes in Cookie and Authorization never throw and never reach the store', () => {
  it.each(Object.entries(FRAMEWORKS))('%s', async (_, framework) => {
    const { manager, calls, tokens } = await signedIn();
    const app = await listen(framework(manager, {}));
    closing(() => app.close());
    const text = fc.oneof(...['session=', 'Bearer ', ''].map((lead) => unsignedText(tokens, lead)));
    const request = fc.record({
      method: fc.constantFrom('GET', 'POST'),
      path: fc.constantFrom('/session', '/me'),
      cookie: text,
      authorization: text,
    });
    await holds(60, [request], async ({ method, path, cookie, authorization }) => {
      const headers = ['Host: app', 'Origin: https://other', `Cookie: ${cookie}`, `Authorization: ${authorization}`];
      const { status, setCookie } = await within(30_000, 'an answer', sendRaw(app.url, method, path, headers));
      // Node answers 400 to invalid headers.
      expect([path === '/me' ? 401 : 200, 400]).toContain(status);
      expect(setCookie).toEqual([]);
      expect(calls.splice(0)).toEqual([]);
    });
  });
});

describe('random header texts', () => {
  /** Cookies and an Authorization, assembled from the allowed tokens and from invalid pieces. */
  const requests = (pieces: readonly string[], others: fc.Arbitrary<string>): fc.Arbitrary<DirectRequest> => {
    const value = fc.oneof(fc.constantFrom(...pieces), others, headerText(pieces), fc.string({ unit: 'binary' }));
    const name = fc.constantFrom('session', '__Host-session', '__proto__', 'constructor', 'x');
    const cookies = fc.array(
      fc.tuple(name, value).map((pair) => pair.join('=')),
      { maxLength: 5 },
    );
    const header = fc.tuple(fc.constantFrom('Bearer ', 'bearer  ', 'Basic ', 'Bearer', ''), value);
    return fc
      .record({
        method: fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE', '__proto__'),
        url: fc.oneof(fc.constantFrom('/', '/a/b?c', '', '*'), fc.string({ unit: 'binary' })),
        secure: fc.boolean(),
        cookie: fc.option(
          fc.oneof(
            cookies.map((all) => all.join('; ')),
            value,
          ),
          { nil: undefined },
        ),
        authorization: fc.option(
          fc.oneof(
            header.map((parts) => parts.join('')),
            value,
          ),
          { nil: undefined },
        ),
        other: fc.dictionary(
          fc.constantFrom('host', 'origin', 'sec-fetch-site', 'user-agent', 'x-forwarded-host'),
          value,
        ),
      })
      .map(({ cookie, authorization, other, ...request }) => ({
        ...request,
        headers: { ...other, cookie, authorization },
      }));
  };

  it('sign in no user, reach no store, and break neither middleware', async () => {
    const { manager, calls, tokens } = await signedIn();
    const middlewares = [...directMiddlewares(manager), ...directMiddlewares(manager, { header: 'x-forwarded-host' })];
    const others = mutatedTokens(tokens).filter((text) => !holdsToken(text, tokens));
    await holds(250, [requests(['nothing'], others)], async (request) => {
      for (const { send } of middlewares) {
        const { session, setCookie } = await send(request);
        expect([session.user, session.token, session.endReason]).toEqual([null, null, null]);
        expect(await setCookie()).toEqual([]);
      }
      expect(calls.splice(0)).toEqual([]);
    });
  });

  it('with tokens of one user sign in that user or none, whatever else is there', async () => {
    const { manager, ada, tokens } = await signedIn();
    const middlewares = directMiddlewares(manager);
    const others = mutatedTokens(tokens).filter((text) => !holdsToken(text, tokens));
    let signedInAs = 0;
    await holds(250, [requests(ada, others)], async (request) => {
      for (const { send } of middlewares) {
        const session = await sessionOf(send(request));
        if (!session?.user) continue;
        signedInAs++;
        expect(session.user).toEqual({ id: 'ada' });
        expect(ada).toContain(session.token);
      }
    });
    expect(signedInAs).toBeGreaterThan(0);
  });

  it('with tokens of two users in cookies sign in neither; a token in the header comes first', async () => {
    const { manager, ada, tokens } = await signedIn();
    const grace = tokens.filter((token) => !ada.includes(token));
    const order = fc.shuffledSubarray([...ada, ...grace], { minLength: 2 });
    const header = fc.option(fc.constantFrom(...tokens), { nil: undefined });
    await holds(100, [order, header, fc.boolean()], async (cookies, token, secure) => {
      const cookie = cookies.map((value) => `${secure ? '__Host-session' : 'session'}=${value}`).join('; ');
      const headers = { cookie, ...(token !== undefined && { authorization: `Bearer ${token}` }) };
      const owners = new Set(cookies.map((value) => ownerOf(value, ada)));
      const inCookies = owners.size === 1 ? ownerOf(cookies[0] as string, ada) : null;
      for (const { send } of directMiddlewares(manager)) {
        const { session } = await send({ method: 'GET', url: '/', secure, headers });
        expect(session.user?.id ?? null).toBe(token === undefined ? inCookies : ownerOf(token, ada));
      }
    });
  });
});

describe('a token', () => {
  it('that was changed, cut, assembled or signed by others is invalid, and costs no call to the store', async () => {
    const { manager, calls, tokens } = await signedIn();
    await holds(800, [mutatedTokens(tokens)], async (token) => {
      expect(manager.isToken(token)).toBe(false);
      expect(await manager.checkToken(token)).toBeNull();
      expect(await manager.checkTokenOrUpdateUser(token)).toBeNull();
      expect(await manager.touchToken(token)).toBeNull();
      expect(await manager.inspectToken(token, { touch: true })).toEqual({ session: null, reason: 'unknown' });
      expect(await manager.refreshToken(token)).toBe(false);
      expect(await manager.rotateToken(token)).toBeNull();
      expect(await manager.reauthenticateToken(token)).toBeNull();
      expect(await manager.deleteToken(token)).toBe(false);
      expect(calls.splice(0)).toEqual([]);
    });
  });

  it('of any type of value is invalid, and costs no call to the store', async () => {
    const { manager, calls } = await signedIn();
    await holds(250, [anyValue], async (value) => {
      const token = value as string;
      expect(manager.isToken(token)).toBe(false);
      expect(await manager.touchToken(token)).toBeNull();
      expect(await manager.inspectToken(token)).toEqual({ session: null, reason: 'unknown' });
      expect(await manager.rotateToken(token)).toBeNull();
      expect(await manager.deleteToken(token)).toBe(false);
      expect(calls.splice(0)).toEqual([]);
    });
  });
});

describe('an argument of any value', () => {
  const seconds = fc.oneof(anyValue, fc.constant(60));
  /** The names by which each call may reject an argument. */
  const CALLS: Record<string, [given: Given, named: RegExp, call: Call]> = {
    setToken: [anyValue, /userId/, (all, id) => all.setToken(id)],
    'setToken ttl': [seconds, /ttl/, (all, ttl) => all.setToken('ada', ttl)],
    'setToken attributes': [
      ['device', 'ip', 'userAgent'],
      /attributes/,
      (all, attributes) => all.setToken('ada', 60, attributes),
    ],
    createSession: [
      ['ttl', 'absoluteTtl', 'attributes', 'actor', 'replaces'],
      /createSession|[tT]tl|attributes|actor|replaces/,
      (all, options) => all.createSession('ada', options),
    ],
    'createSession replaces': [
      fc.oneof(fc.array(anyValue), anyValue),
      /replaces/,
      (all, replaces) => all.createSession('ada', { replaces }),
    ],
    refreshToken: [seconds, /ttl/, (all, ttl) => all.refreshToken('no token', ttl)],
    checkTokenOrUpdateUser: [seconds, /userInfoTtl/, (all, ttl) => all.checkTokenOrUpdateUser('no token', ttl)],
    touchToken: [seconds, /userInfoTtl/, (all, ttl) => all.touchToken('no token', ttl)],
    inspectToken: [
      ['touch', 'userInfoTtl'],
      /inspectToken|touch|userInfoTtl/,
      (all, options) => all.inspectToken('no token', options),
    ],
    listUserToken: [anyValue, /userId/, (all, id) => all.listUserToken(id)],
    listUserSessions: [anyValue, /userId/, (all, id) => all.listUserSessions(id)],
    deleteUserToken: [
      ['except', 'message'],
      /deleteUserToken|except|message/,
      (all, options) => all.deleteUserToken('ada', options),
    ],
    'deleteUserToken of whom': [anyValue, /userId/, (all, id) => all.deleteUserToken(id)],
    deleteSession: [anyValue, /sessionId/, (all, id) => all.deleteSession('ada', id)],
    'deleteSession message': [
      ['message'],
      /deleteSession|message/,
      (all, options) => all.deleteSession('ada', 'x'.repeat(22), options),
    ],
    banUser: [['seconds', 'reason'], /banUser|seconds|reason/, (all, options) => all.banUser('another user', options)],
    'banUser whom': [anyValue, /userId/, (all, id) => all.banUser(id)],
    unbanUser: [anyValue, /userId/, (all, id) => all.unbanUser(id)],
    getBan: [anyValue, /userId/, (all, id) => all.getBan(id)],
    addUser: [anyValue, /userId/, (all, id) => all.addUser(id)],
    refreshUser: [fc.oneof(fc.array(anyValue), anyValue), /userIds/, (all, ids) => all.refreshUser(ids)],
    'refreshUser userInfoTtl': [seconds, /userInfoTtl/, (all, ttl) => all.refreshUser(['ada'], ttl)],
    deleteUser: [anyValue, /userId/, (all, id) => all.deleteUser(id)],
    watch: [anyValue, /session/, async (all, session) => all.watch(session)],
    unwatch: [anyValue, /signal/, async (all, signal) => all.unwatch(signal)],
    'on event': [anyValue, /event/, async (all, name) => all.on(name, () => undefined)],
    'once listener': [anyValue, /listener/, async (all, listener) => all.once('store-up', listener)],
  };

  it.each(Object.entries(CALLS))('of %s is accepted, or rejected by its name with nothing stored', async (_, row) => {
    const [given, named, call] = row;
    const { store, calls } = countedStore(new MemoryStore());
    const manager = opened({ store, secret: SECRET, getUserInfo: (id) => ({ name: id }) });
    await holds(100, [valuesFor(given)], async (value) => {
      calls.length = 0;
      await takenOrRefused(named, calls, hasUnknown(given, value), () => call(manager, value as never));
    });
  });

  type OfSession = (session: AnySession, value: never) => Promise<unknown>;
  it.each<[string, Given, RegExp, OfSession]>([
    ['login', anyValue, /userId/, (session, id) => session.login(id)],
    [
      'login options',
      ['ttl', 'absoluteTtl', 'attributes', 'actor', 'keep', 'persistent'],
      /login|[tT]tl|attributes|actor|keep|persistent/,
      (session, options) => session.login('ada', options),
    ],
    [
      'login attributes',
      ['device', 'ip', 'userAgent'],
      /attributes/,
      (session, attributes) => session.login('ada', { attributes }),
    ],
    ['logout', ['everywhere'], /logout|everywhere/, (session, options) => session.logout(options)],
  ])('of req.session’s %s is accepted, or rejected by its name with nothing stored', async (_, given, named, call) => {
    const { store, calls } = countedStore(new MemoryStore());
    const manager = opened({ store, secret: SECRET });
    const middlewares = directMiddlewares(manager);
    await holds(100, [valuesFor(given)], async (value) => {
      for (const { send } of middlewares) {
        const { session, setCookie } = await send({ method: 'GET', url: '/', secure: true, headers: {} });
        calls.length = 0;
        const isUnknown = hasUnknown(given, value);
        const isTaken = await takenOrRefused(named, calls, isUnknown, () => call(session, value as never));
        if (!isTaken) expect([session.user, await setCookie()]).toEqual([null, []]);
      }
    });
  });
});

describe('options of any value are accepted, or rejected by name', () => {
  const store = new MemoryStore();
  const manager = new TokenManager({ store, secret: SECRET });
  afterAll(() => manager.close());
  const MANAGER = ['store', 'secret', 'ttl', 'slideEvery', 'absoluteTtl', 'singleMode', 'maxSessions', 'onLimit'];
  const POLICIES = ['maxSessionsPerDevice', 'rotationGrace', 'rotateEvery', 'onReuse', 'getUserInfo', 'userInfoTtl'];
  const DATA = ['visitorTtl', 'maxDataBytes', 'maxDataKeys'];
  const COOKIE = ['name', 'path', 'domain', 'secure', 'sameSite', 'partitioned'];
  const EDGE = ['cookie', 'header', 'onUnavailable', 'crossOrigin', 'trustedOrigins', 'clearSiteData', 'data'];

  it.each<[string, Given, RegExp, (options: never) => unknown]>([
    ['TokenManager', [...MANAGER, ...POLICIES, ...DATA], /TokenManager|option /, (all) => new TokenManager(all)],
    [
      'TokenManager, with the rest right',
      [...MANAGER, ...POLICIES, ...DATA],
      /TokenManager|option /,
      (all: unknown) => new TokenManager((isObject(all) ? { store, secret: SECRET, ...all } : all) as never),
    ],
    ['secret', fc.oneof(fc.array(anyValue), anyValue), /secret/, (secret) => new TokenManager({ store, secret })],
    [
      'maxSessionsPerDevice',
      anyOptions(['web', 'tv']),
      /maxSessionsPerDevice/,
      (limits) => new TokenManager({ store, secret: SECRET, maxSessionsPerDevice: limits }),
    ],
    ['MemoryStore', ['now', 'sweepEvery'], /MemoryStore|option /, (all) => void new MemoryStore(all).close()],
    [
      'RedisStore',
      ['tokenKeyPrefix', 'userKeyPrefix', 'timeoutMs', 'tls', 'durability'],
      /RedisStore|option |durability/,
      (all) => new RedisStore(undefined, all),
    ],
    [
      'sessionMiddleware',
      EDGE,
      /sessionMiddleware|sessionOpener|sessionPlugin|option/,
      (all) => allMiddlewares(manager, all),
    ],
    [
      'authenticator',
      ['cookie', 'header', 'crossOrigin', 'trustedOrigins'],
      /authenticator|option/,
      (all) => authenticator(manager, all),
    ],
    [
      'authenticate',
      ['token', 'secure', 'host'],
      /authenticate|secure|host/,
      (details) => authenticator(manager)({ headers: {} }, details),
    ],
    ['cookie', COOKIE, /cookie/, (cookie) => allMiddlewares(manager, { cookie: cookie || 0 })],
    [
      'trustedOrigins',
      fc.oneof(fc.array(anyValue), anyValue),
      /trustedOrigins/,
      (trustedOrigins) => allMiddlewares(manager, { trustedOrigins }),
    ],
    ['sessionMiddleware’s manager', anyValue, /TokenManager/, (value) => allMiddlewares(value, {})],
    [
      'requireRecentLogin',
      anyValue,
      /seconds/,
      (seconds) =>
        ALL_HOSTS.filter(([, host]) => host.hasMiddleware).map(([, host]) => host.requireRecentLogin(seconds)),
    ],
  ])('%s', async (_, given, named, build) => {
    await holds(150, [valuesFor(given)], async (options) => {
      await takenOrRefused(named, [], hasUnknown(given, options), async () => build(options as never));
    });
  });
});

describe('any user id of 1 to 1,024 bytes and any attributes', () => {
  const STORES = everyStore();

  it.each(STORES)('are returned exactly as they were given: %s', async (_, open) => {
    const manager = opened({ store: open(), secret: SECRET });
    const logins: string[] = [];
    manager.on('login', ({ userId }) => logins.push(userId));
    await holds(150, [userIds, anyAttributes], async (userId, attributes) => {
      const created = await manager.createSession(userId, { attributes });
      const { id, token } = created;
      expect(created).toMatchObject({ id, user: { id: userId }, attributes });
      expect((await manager.touchToken(token))?.user).toEqual({ id: userId });
      expect((await manager.checkToken(token))?.attributes).toEqual(attributes);
      expect(await manager.listUserSessions(userId)).toMatchObject([{ id, attributes }]);
      expect(logins.splice(0)).toEqual([userId]);
      expect(await manager.banUser(userId, { reason: 'a\nreason: of two lines' })).toBe(1);
      expect(await manager.getBan(userId)).toMatchObject({ reason: 'a\nreason: of two lines' });
      expect(await manager.unbanUser(userId)).toBe(true);
    });
  });

  it.each(STORES)('keep users apart whose ids are as similar as possible: %s', async (_, open) => {
    const manager = opened({ store: open(), secret: SECRET });
    const likeness = fc.constantFrom<(id: string) => string>(
      (id) => `${id}\0`,
      (id) => `${id} `,
      (id) => `${id}\n`,
      (id) => id.toUpperCase(),
      (id) => id.normalize('NFC'),
      (id) => id.normalize('NFD'),
      (id) => id.normalize('NFKC'),
      (id) => [...id].slice(1).join(''),
      (id) => encodeURIComponent(id),
      (id) => Buffer.from(id).toString('latin1'),
    );
    await holds(100, [userIds, likeness], async (userId, change) => {
      const other = change(userId);
      fc.pre(other !== userId && other !== '' && Buffer.byteLength(other) <= 1024);
      const token = await manager.setToken(userId);
      const id = idOf(token);
      expect(await manager.listUserToken(other)).toEqual([]);
      expect(await manager.deleteSession(other, id)).toBe(false);
      expect(await manager.banUser(other)).toBe(0);
      expect((await manager.checkToken(token))?.user.id).toBe(userId);
      await manager.unbanUser(other);
      expect(await manager.deleteUserToken(userId)).toBe(1);
    });
  });

  it.each(STORES)(
    'count correctly for a limit by device, whatever other attributes a login has: %s',
    async (_, open) => {
      const manager = opened({ store: open(), secret: SECRET, maxSessionsPerDevice: 1 });
      let users = 0;
      await holds(150, [anyAttributes, anyAttributes], async (one, two) => {
        const userId = `user ${users++}`;
        const first = await manager.setToken(userId, 60, one);
        const second = await manager.setToken(userId, 60, two);
        const isSameDevice = (one.device ?? '') === (two.device ?? '');
        expect(await manager.listUserToken(userId)).toEqual(isSameDevice ? [second] : [first, second]);
        const third = await manager.setToken(userId, 60, one);
        expect(await manager.listUserToken(userId)).toEqual(isSameDevice ? [third] : [second, third]);
      });
    },
  );
});

type Call = (manager: TokenManager<Detail>, value: never) => Promise<unknown>;

function allMiddlewares(manager: unknown, options: SessionMiddlewareOptions): void {
  for (const [, host] of ALL_HOSTS) host.direct(manager as TokenManager, options);
}

/** An argument: any value, or an object of options with these names. */
type Given = fc.Arbitrary<unknown> | readonly string[];

function valuesFor(given: Given): fc.Arbitrary<unknown> {
  return Array.isArray(given) ? anyOptions(given) : (given as fc.Arbitrary<unknown>);
}

/** Whether these are invalid options: an unknown name, or no object at all. */
function hasUnknown(given: Given, value: unknown): boolean {
  if (!Array.isArray(given) || value === undefined) return false;
  return !isObject(value) || Object.keys(value).some((name) => !given.includes(name));
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Whether a call accepted its argument; it may not accept what it `mustRefuse`. A rejection must name the argument, and
 * nothing may be stored.
 */
async function takenOrRefused(
  named: RegExp,
  calls: readonly string[],
  mustRefuse: boolean,
  call: () => Promise<unknown>,
): Promise<boolean> {
  let refusal: Error | null = null;
  try {
    await call();
  } catch (error) {
    refusal = error as Error;
  }
  if (refusal === null) {
    expect(mustRefuse).toBe(false);
    return true;
  }
  expect(['TypeError', 'RangeError']).toContain(refusal.name);
  expect(refusal.message).toMatch(named);
  expect(calls).toEqual([]);
  return false;
}

/** Header text without a whole token in it. */
function unsignedText(tokens: readonly string[], lead: string): fc.Arbitrary<string> {
  const pieces = tokens.flatMap((token) => [token.slice(0, 60), token.slice(1), token.slice(0, 45)]);
  const text = fc.oneof(headerText([...pieces, 'Bearer ', 'Basic ']), mutatedTokens(tokens));
  // One byte a character, as it is sent.
  const bytes = text.map((rest) => Buffer.from(lead + rest, 'latin1').toString('latin1'));
  return bytes.filter((whole) => !holdsToken(whole, tokens) && !/[\r\n]/.test(whole));
}

function holdsToken(text: string, tokens: readonly string[]): boolean {
  return tokens.some((token) => text.includes(token));
}

function ownerOf(token: string, ada: readonly string[]): string {
  return ada.includes(token) ? 'ada' : 'grace';
}

/** The session of a request; `null` if it was refused for its origin. */
async function sessionOf(sending: Promise<{ session: AnySession }>): Promise<AnySession | null> {
  try {
    return (await sending).session;
  } catch (error) {
    if (error instanceof SessionError && error.code === 'ERR_CROSS_ORIGIN') return null;
    throw error;
  }
}

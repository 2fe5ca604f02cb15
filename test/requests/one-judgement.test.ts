import { setTimeout as sleep } from 'node:timers/promises';
import express from 'express';
import { MemoryStore, SessionError, type Store, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forKoa from 'tokensession/koa';
import { HmacSha256 } from '../../src/token/hmac';
import { listen } from '../support/apps';
import { ask } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import { gate } from '../support/gate';
import { ALL_HOSTS } from '../support/hosts';
import type { AnySession, GuardName, Mount, Plan, Visit } from '../support/hosts/host';
import { managerMaker } from '../support/managers';
import { sendRaw } from '../support/raw-request';
import { SECRET } from '../support/stores';
import { wrapStore } from '../support/wrapped-store';

const HOST = 'Host: shop.example.com';
const CROSS_SITE = 'Sec-Fetch-Site: cross-site';

/** A store that fails on demand. */
function fallibleStore(): { store: Store; fail(isDown: boolean): void } {
  let isDown = false;
  const refuse = () => Promise.reject(new SessionError('ERR_STORE_UNAVAILABLE', 'the store is down'));
  const store = wrapStore(new MemoryStore(), (method, call) => (isDown && method !== 'close' ? refuse() : call()));
  return {
    store,
    fail(down) {
      isDown = down;
    },
  };
}

/** The token in the last line that sets the cookie; `''` for a deletion, `null` for no line. */
const cookieIn = (setCookie: string[]) => /^session=([^;]*)/.exec(setCookie.at(-1) ?? '')?.[1] ?? null;
const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => 'done',
    (error) => (error as SessionError).code,
  );

describe.each(ALL_HOSTS)('%s', (_, host) => {
  const onClose = closeAfterEach();

  const newManager = managerMaker(onClose);

  async function start(handle: Plan['handle'], mounts: readonly Mount[], guard?: GuardName) {
    const app = await listen(host.build({ handle, mounts, guardOf: () => guard }));
    onClose(app.close);
    return async (headers: string[], path = '/', method = 'POST') => sendRaw(app.url, method, path, [HOST, ...headers]);
  }

  it.each(['live', 'ended', 'forged'])('a cookie with a token that is %s costs one signature', async (kind) => {
    const manager = newManager();
    const send = await start(({ session }) => ({ reason: session.endReason }), [{ manager }]);
    const token = await manager.setToken('ada');
    const sent = kind === 'forged' ? `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}` : token;
    if (kind === 'ended') await manager.deleteToken(token);
    const digest = jest.spyOn(HmacSha256.prototype, 'digest');
    onClose(() => digest.mockRestore());
    expect(await send([`Cookie: session=${sent}`], '/', 'GET')).toMatchObject({ status: 200 });
    expect(digest).toHaveBeenCalledTimes(1);
  });

  it('the options are read when it is mounted, and by no request', async () => {
    let reads = 0;
    const options = Object.defineProperty({}, 'header', {
      enumerable: true,
      get: () => {
        reads++;
        return 'x-token';
      },
    });
    const manager = newManager();
    const send = await start(({ session }) => ({ user: session.user }), [{ manager, options }]);
    const before = reads;
    for (let i = 0; i < 3; i++) {
      const { text } = await send([`X-Token: ${await manager.setToken('ada')}`], '/', 'GET');
      expect(JSON.parse(text)).toEqual({ user: { id: 'ada' } });
    }
    expect([before, reads]).toEqual([1, 1]);
  });

  it('the response of a logout keeps the cookie of a login that replaced its session in the meantime', async () => {
    const manager = newManager();
    const send = await start(
      async ({ session }) => {
        const other = await manager.createSession('ada', { replaces: [session.token as string] });
        await session.logout();
        return { live: (await manager.checkToken(other.token)) !== null };
      },
      [{ manager }],
    );
    const response = await send([`Cookie: session=${await manager.setToken('ada')}`]);
    expect(response).toMatchObject({ status: 200, setCookie: [] });
  });

  it.each(['rotate', 'reauthenticated'] as const)('%s() shows why the session has ended meanwhile', async (verb) => {
    const manager = newManager();
    const send = await start(
      async ({ session }) => {
        await manager.deleteUserToken('ada', { message: 'hacked' });
        return { token: await session[verb](), reason: session.endReason, message: session.endMessage };
      },
      [{ manager }],
    );
    const { text } = await send([`Cookie: session=${await manager.setToken('ada')}`]);
    expect(JSON.parse(text)).toEqual({ token: null, reason: 'revoked', message: 'hacked' });
  });

  it('an update of data that a logout in parallel overtakes passes none of it to the visitor', async () => {
    const manager = newManager();
    const send = await start(
      async ({ session }) => {
        let loggedOut: Promise<void> | undefined;
        const seen: unknown[] = [];
        const cart = await session.data.update('cart', async (items = []) => {
          seen.push(items);
          loggedOut ??= session.logout();
          await loggedOut;
          return [...(items as string[]), 'hat'];
        });
        return { seen, cart, user: session.user, data: await session.data.getAll() };
      },
      [{ manager }],
    );
    const token = await manager.setToken('ada');
    await manager.sessionData(token).set({ cart: ['gift'] });
    const response = await send([`Cookie: session=${token}`]);
    const [seen, cart] = [[['gift'], []], ['hat']];
    expect(JSON.parse(response.text)).toEqual({ seen, cart, user: null, data: { cart } });
  });

  it('the response of a logout by a header token keeps the cookie and its session', async () => {
    const manager = newManager();
    const send = await start(({ session }) => session.logout(), [{ manager }]);
    const [inHeader, inCookie] = [await manager.setToken('ada'), await manager.setToken('ada')];
    const response = await send([`Authorization: Bearer ${inHeader}`, `Cookie: session=${inCookie}`]);
    expect(response.setCookie).toEqual([]);
    expect(await manager.listUserToken('ada')).toEqual([inCookie]);
  });

  describe('a late response', () => {
    it.each(['login', 'switch', 'expire'])('keeps the cookie of a parallel login: %s', async (kind) => {
      let now = Date.now();
      const manager = newManager({ store: new MemoryStore({ now: () => now }), ttl: 60 });
      const slow = gate();
      const send = await start(
        async ({ req, session }) => {
          if (req.url === '/login') return session.login(kind === 'switch' ? 'grace' : 'ada');
          await slow.wait();
          return { rotated: await session.rotate(), reason: session.endReason };
        },
        [{ manager }],
      );
      const token = await manager.setToken('ada');
      if (kind === 'expire') now += 61_000;
      const answer = send([`Cookie: session=${token}`], '/slow');
      await slow.arrival;
      const login = await send([`Cookie: session=${token}`], '/login');
      slow.open();
      const late = await answer;
      expect(late).toMatchObject({ status: 200, setCookie: [] });
      expect(await manager.checkToken(cookieIn(login.setCookie) ?? '')).not.toBeNull();
    });

    it('keeps the cookie when its session was replaced before the request began, even in a logout', async () => {
      const manager = newManager();
      const send = await start(
        async ({ req, session }) => {
          if (req.url === '/login') return session.login('ada');
          const reason = session.endReason;
          if (req.url === '/logout') await session.logout();
          return { reason };
        },
        [{ manager }],
      );
      const token = await manager.setToken('ada');
      await send([`Cookie: session=${token}`], '/login');
      for (const path of ['/', '/logout']) {
        const response = await send([`Cookie: session=${token}`], path);
        expect(response).toMatchObject({ status: 200, setCookie: [] });
        expect(response.text).toContain('"replaced"');
      }
    });

    it('omits a renewed token after a second, when the client may have a newer one, even without a grace', async () => {
      let now = Date.now();
      const store = new MemoryStore({ now: () => now });
      const manager = newManager({ store, rotateEvery: 60, rotationGrace: 0 });
      let moment = performance.now();
      const clock = jest.spyOn(performance, 'now').mockImplementation(() => moment);
      onClose(() => clock.mockRestore());
      const answer = ({ req }: Visit) => {
        moment += req.url === '/slow' ? 1100 : 900;
      };
      const send = await start(answer, [{ manager }]);
      const token = await manager.setToken('ada');
      now += 61_000;
      expect((await send([`Cookie: session=${token}`])).setCookie).toHaveLength(1);
      expect((await send([`Cookie: session=${token}`], '/slow')).setCookie).toEqual([]);
    });
  });

  if (host.isNode)
    describe('writeHead', () => {
      const object = { 'X-One': '1', 'Set-Cookie': ['theme=dark', 'lang=en'] };
      const pairs = [
        ['X-One', '1'],
        ['Set-Cookie', 'theme=dark'],
        ['Set-Cookie', 'lang=en'],
      ];
      const headers = { object, pairs, flat: pairs.flat() };
      const reasons = { omitted: [], undefined: [undefined], null: [null], string: ['Made'] };
      const forms = Object.entries(reasons).flatMap(([reason, args]) =>
        Object.entries(headers).map(([form, given]) => [reason, form, [201, ...args, given]] as const),
      );

      it.each(forms)(
        'with the reason %s and the headers as %s keeps them and sets the cookie',
        async (_r, _f, args) => {
          const manager = newManager();
          const send = await start(
            async ({ req, res, session }) => {
              if (req.url === '/logout') await session.logout();
              else await session.login('ada');
              (res.writeHead as (...given: readonly unknown[]) => unknown)(...args);
              res.end();
            },
            [{ manager }],
          );
          for (const path of ['/login', '/logout']) {
            const response = await send([`Cookie: session=${await manager.setToken('ada')}`], path);
            expect(response.status).toBe(201);
            expect(response.headers).toContainEqual(['x-one', '1']);
            expect(response.setCookie.map((line) => line.split('=')[0])).toEqual(['theme', 'lang', 'session']);
            expect(cookieIn(response.setCookie) === '').toBe(path === '/logout');
          }
        },
      );

      it.each(['end', 'write', 'flushHeaders'])('called implicitly by %s does the same', async (way) => {
        const manager = newManager();
        const send = await start(
          async ({ res, session }) => {
            await session.login('ada');
            res.statusCode = 202;
            for (const [name, value] of Object.entries(object)) res.setHeader(name, value);
            if (way === 'write') res.write('x');
            if (way === 'flushHeaders') res.flushHeaders();
            res.end();
          },
          [{ manager }],
        );
        const response = await send([]);
        expect(response.status).toBe(202);
        expect(response.setCookie.map((line) => line.split('=')[0])).toEqual(['theme', 'lang', 'session']);
      });
    });

  it("a login after a logout takes our Clear-Site-Data back, and keeps the application's own", async () => {
    const manager = newManager();
    const handle = async ({ session, setHeader }: Visit) => {
      setHeader('Clear-Site-Data', '"cache"');
      await session.logout();
      await session.login('grace');
    };
    const send = await start(handle, [{ manager, options: { clearSiteData: true } }]);
    const { headers } = await send([`Cookie: session=${await manager.setToken('ada')}`]);
    expect(headers).toContainEqual(['clear-site-data', '"cache"']);
  });

  describe('an error response', () => {
    if (host.takesStatusMessages)
      it.each(['login', 'rotate'])(
        'after a status message that HTTP cannot carry has the cookie of a %s',
        async (verb) => {
          const manager = newManager();
          const send = await start(
            async ({ res, holder, session }) => {
              await (verb === 'login' ? session.login('ada') : session.rotate());
              // Koa uses the message of the status that is set.
              if ('status' in holder) holder.status = 200;
              res.statusMessage = '保存';
            },
            [{ manager }],
          );
          const response = await send([`Cookie: session=${await manager.setToken('ada')}`]);
          expect(response.status).toBe(500);
          expect(await manager.checkToken(cookieIn(response.setCookie) ?? '')).not.toBeNull();
        },
      );

    it('keeps Clear-Site-Data and the deletion of the cookie', async () => {
      const manager = newManager();
      const options = { clearSiteData: true };
      const send = await start(
        async ({ session }) => {
          await session.logout();
          throw new Error('broken');
        },
        [{ manager, options }],
      );
      const response = await send([`Cookie: session=${await manager.setToken('ada')}`]);
      expect(response.status).toBe(500);
      expect(response.headers).toContainEqual(['clear-site-data', '"cache", "cookies", "storage"']);
      expect(cookieIn(response.setCookie)).toBe('');
    });
  });

  describe.each(['end-session', 'ignore'] as const)("a request that outlasts the grace, onReuse '%s'", (onReuse) => {
    it.each<[string, (session: AnySession) => Promise<unknown>, outcome: unknown]>([
      ['data.get', ({ data }) => data.get('key'), 'value'],
      ['data.set', ({ data }) => data.set('key', 'other'), undefined],
      ['data.increment', ({ data }) => data.increment('count'), 1],
      ['data.pop', ({ data }) => data.pop('key'), 'value'],
      ['rotate', async (session) => (await session.rotate()) === session.token, true],
      ['reauthenticated', async (session) => (await session.reauthenticated()) === session.token, true],
    ])('of a rotation by another request goes on: %s', async (_, verb, expected) => {
      let now = 1e12;
      const manager = newManager({ store: new MemoryStore({ now: () => now }), onReuse });
      const token = await manager.setToken('ada');
      await manager.sessionData(token).set('key', 'value');
      let newer: string | null = null;
      let outcome: unknown;
      const send = await start(
        async ({ session }) => {
          newer = await manager.rotateToken(token);
          await manager.touchToken(newer as string);
          now += 11_000;
          outcome = await verb(session);
          return { user: session.user };
        },
        [{ manager }],
      );
      const response = await send([`Cookie: session=${token}`]);
      expect(response).toMatchObject({ status: 200, text: '{"user":{"id":"ada"}}' });
      expect(outcome).toBe(expected);
      expect(await manager.checkToken(newer as unknown as string)).not.toBeNull();
      const given = cookieIn(response.setCookie);
      if (given !== null) expect(await manager.touchToken(given)).not.toBeNull();
      // A new request with the former token is a reuse.
      now += 11_000;
      expect(await manager.inspectToken(token)).toMatchObject({ session: null, reason: 'reused' });
    });
  });

  it('with two managers and one cookie name, the latest decision wins', async () => {
    const [old, current] = [newManager(), newManager({ secret: SECRET.toUpperCase() })];
    const mounts = [{ manager: old }, { manager: current, options: { property: 'auth' } }];
    const send = await start(async ({ req, holder }) => {
      if (req.url === '/logout-login') await holder.session.logout();
      await holder.auth.login('ada');
      if (req.url === '/login-logout') await holder.session.logout();
    }, mounts);
    const cookie = `Cookie: session=${await old.setToken('ada')}`;
    const first = (await send([cookie], '/logout-login')).setCookie;
    expect(first).toHaveLength(1);
    expect(await current.checkToken(cookieIn(first) ?? '')).not.toBeNull();
    const second = (await send([`Cookie: session=${await old.setToken('ada')}`], '/login-logout')).setCookie;
    expect(second).toHaveLength(1);
    expect(cookieIn(second)).toBe('');
  });

  if (host.canSwallow)
    describe('an error that the application swallowed', () => {
      const swallowed = (manager: TokenManager, options = {}) => [
        { manager, options, isSwallowed: true },
        { manager, options, isSwallowed: true },
      ];

      it.each(['error', 'anonymous'] as const)(
        'still counts if it is an outage, with onUnavailable: %s',
        async (onUnavailable) => {
          const { store, fail } = fallibleStore();
          const manager = newManager({ store });
          const cookie = `Cookie: session=${await manager.setToken('ada')}`;
          for (const guard of ['user', 'recent'] as const) {
            const send = await start(() => 'in', swallowed(manager, { onUnavailable }), guard);
            fail(true);
            const response = await send([cookie]);
            fail(false);
            expect(response.status).toBe(503);
            expect(response.headers).toContainEqual(['retry-after', '1']);
          }
          const send = await start(
            async ({ session }) => {
              fail(false);
              const rotations = [await codeOf(session.rotate()), await codeOf(session.reauthenticated())];
              return [...rotations, await codeOf(session.logout({ everywhere: true }))];
            },
            swallowed(manager, { onUnavailable }),
          );
          fail(true);
          const response = await send([cookie]);
          expect(JSON.parse(response.text)).toEqual(Array(3).fill('ERR_STORE_UNAVAILABLE'));
          expect(response.setCookie).toEqual([]);
          expect(await manager.listUserToken('ada')).toHaveLength(1);
        },
      );

      it('still counts if it is a refused origin', async () => {
        const manager = newManager();
        const token = await manager.setToken('ada');
        for (const guard of ['user', 'recent'] as const) {
          const send = await start(() => 'in', swallowed(manager), guard);
          expect((await send([`Cookie: session=${token}`, CROSS_SITE])).status).toBe(403);
        }
        const begin = await start(({ session }) => session.data.set('cart', 'book'), [{ manager }]);
        const visitor = /^session-visitor=([^;~]*)/.exec((await begin([])).setCookie[0] ?? '')?.[1] as string;
        const send = await start(
          async ({ session }) => [
            await codeOf(session.rotate()),
            await codeOf(session.reauthenticated()),
            await codeOf(session.logout()),
            await codeOf(session.logout({ everywhere: true })),
          ],
          swallowed(manager),
        );
        for (const cookie of [`session=${token}`, `session-visitor=${visitor}`]) {
          const response = await send([`Cookie: ${cookie}`, CROSS_SITE]);
          expect(JSON.parse(response.text)).toEqual(Array(4).fill('ERR_CROSS_ORIGIN'));
          expect(response.setCookie).toEqual([]);
        }
        expect(await manager.checkToken(token)).not.toBeNull();
        expect(await manager.sessionData(visitor).get('cart')).toBe('book');
      });

      it('is thrown again by a second mount', async () => {
        const manager = newManager();
        const send = await start(() => 'in', [{ manager, isSwallowed: true }, { manager }]);
        expect((await send([`Cookie: session=${await manager.setToken('ada')}`, CROSS_SITE])).status).toBe(403);
      });
    });

  describe('a rotation whose answer is late', () => {
    /** A store that judges a rotation at once, and answers later than all other calls. */
    function lateStore(): Store {
      return new Proxy<Store>(new MemoryStore(), {
        get(target, name) {
          const member: unknown = Reflect.get(target, name, target);
          if (typeof member !== 'function') return member;
          if (name !== 'check') return member.bind(target);
          return async (...args: unknown[]) => {
            const found: unknown = await member.apply(target, args);
            await sleep(20);
            return found;
          };
        },
      });
    }

    it('does not undo a login or logout in parallel', async () => {
      const manager = newManager({ store: lateStore() });
      const send = await start(
        async ({ req, session }) => {
          await Promise.all([session.rotate(), req.url === '/logout' ? session.logout() : session.login('bob')]);
          return { user: session.user?.id ?? null };
        },
        [{ manager }],
      );
      const out = await send([`Cookie: session=${await manager.setToken('ada')}`], '/logout');
      expect(out).toMatchObject({ status: 200, text: '{"user":null}' });
      expect(cookieIn(out.setCookie)).toBe('');
      const login = await send([`Cookie: session=${await manager.setToken('ada')}`], '/login');
      expect(login).toMatchObject({ status: 200, text: '{"user":"bob"}' });
      expect(await manager.checkToken(cookieIn(login.setCookie) ?? '')).toMatchObject({ user: { id: 'bob' } });
    });

    it('does not sign out a login that ended the former session meanwhile', async () => {
      const manager = newManager({ store: lateStore() });
      const send = await start(
        async ({ session }) => {
          const rotated = new Promise<string | null>((resolve) => {
            manager.once('login', () => resolve(session.rotate()));
          });
          await session.login('ada');
          const token = await rotated;
          return { user: session.user?.id ?? null, isCurrent: token === session.token };
        },
        [{ manager }],
      );
      const login = await send([`Cookie: session=${await manager.setToken('ada')}`]);
      expect(login).toMatchObject({ status: 200, text: '{"user":"ada","isCurrent":true}' });
    });
  });

  it('the response of a logout keeps the cookie when a rotation before it found the session ended', async () => {
    const manager = newManager();
    const send = await start(
      async ({ session }) => {
        await manager.createSession('ada', { replaces: [session.token as string] });
        const token = await session.rotate();
        await session.logout();
        return { token };
      },
      [{ manager }],
    );
    const response = await send([`Cookie: session=${await manager.setToken('ada')}`]);
    expect(response).toMatchObject({ status: 200, text: '{"token":null}', setCookie: [] });
  });

  it('with tokens of two users, logout() everywhere fails, ends nothing and deletes the cookies', async () => {
    const manager = newManager();
    const send = await start(({ session }) => codeOf(session.logout({ everywhere: true })), [{ manager }]);
    const [ada, mallory] = [await manager.setToken('ada'), await manager.setToken('mallory')];
    const response = await send([`Cookie: session=${ada}; session=${mallory}`]);
    expect(response.text).toContain('ERR_TOKEN_CONFLICT');
    expect(cookieIn(response.setCookie)).toBe('');
    expect(await manager.checkToken(ada)).not.toBeNull();
    expect(await manager.checkToken(mallory)).not.toBeNull();
  });

  if (host.hasProperty)
    describe('the property for the session', () => {
      /** Functions made from text are sloppy, like CommonJS files without "use strict". */
      const sloppy = (code: string) => new Function('holder', 'session', code) as (...given: unknown[]) => void;

      it.each([
        ['holder.session = null', "tokensession's and takes nothing else: call its login() or logout()"],
        ['holder.session = {}', "tokensession's and takes nothing else"],
        ['holder.session = undefined', "tokensession's and takes nothing else"],
        ['Object.create(holder).session = null', "tokensession's and takes nothing else"],
        ['"use strict"; delete holder.session', 'delete property'],
        ['Object.defineProperty(holder, "session", { configurable: true, get: () => ({}) })', 'redefine property'],
        ['session.cart = []', "session.cart can't be assigned: keep data with session.data.set"],
        ['session.user = { id: "eve" }', 'only session.login(userId) signs a user in'],
        ['session.regenerate()', "session.regenerate is express-session's: sign in with"],
        ['session.save()', "session.save is express-session's"],
        ['session.destroy()', "session.destroy is express-session's"],
        ['session.save((error) => { throw error; })', 'sign out with session.logout()'],
        ['session.login = () => "in"', "session.login can't be assigned"],
        ['session.toString = null', "session.toString can't be assigned"],
        ['Object.defineProperty(session, "cart", { value: 1 })', 'not extensible'],
      ])('is guarded in sloppy mode: %s', async (code, message) => {
        const manager = newManager();
        const send = await start(
          ({ holder, session }) => {
            const act = () => sloppy(code)(holder, session);
            expect(act).toThrow(message);
            expect(act).toThrow(expect.objectContaining({ name: 'TypeError' }));
            return { isSame: holder.session === session, user: session.user };
          },
          [{ manager }],
        );
        const { text } = await send([`Cookie: session=${await manager.setToken('ada')}`]);
        expect(JSON.parse(text)).toEqual({ isSame: true, user: { id: 'ada' } });
      });

      /** As code for express-session signs out. Many callbacks ignore the error, and a timer may make the call. */
      const destroy = (session: object) =>
        new Promise((resolve) => {
          const call = () => (session as { destroy(callback: (error?: unknown) => void): void }).destroy(resolve);
          setTimeout(call, 1);
        });

      it('has the destroy(callback) of express-session, which is a logout', async () => {
        const manager = newManager();
        const send = await start(
          async ({ session }) => ({ error: (await destroy(session)) ?? null, user: session.user }),
          [{ manager }],
        );
        const token = await manager.setToken('ada');
        const response = await send([`Cookie: session=${token}`]);
        expect(response).toMatchObject({ status: 200, text: '{"error":null,"user":null}' });
        expect(cookieIn(response.setCookie)).toBe('');
        expect(await manager.checkToken(token)).toBeNull();
      });

      it('has a destroy(callback) that gives the error of a logout', async () => {
        const manager = newManager();
        const send = await start(
          async ({ session }) => {
            await manager.close();
            return { error: ((await destroy(session)) as SessionError).code, user: session.user?.id };
          },
          [{ manager }],
        );
        const response = await send([`Cookie: session=${await manager.setToken('ada')}`]);
        expect(response).toMatchObject({ text: '{"error":"ERR_STORE_UNAVAILABLE","user":"ada"}', setCookie: [] });
      });

      it('keeps the session even where a sloppy delete cannot throw', async () => {
        const send = await start(
          ({ holder, session }) => {
            sloppy('delete holder.session')(holder);
            return { isSame: holder.session === session };
          },
          [{ manager: newManager() }],
        );
        expect((await send([])).text).toBe('{"isSame":true}');
      });
    });

  describe('of many tokens of one user', () => {
    type Call = (session: Visit['session']) => Promise<unknown>;
    const VERBS: Record<string, Call> = {
      login: (session) => session.login('ada'),
      logout: (session) => session.logout(),
      'logout everywhere': (session) => session.logout({ everywhere: true }),
      rotate: (session) => session.rotate(),
      reauthenticated: (session) => session.reauthenticated(),
    };

    /** The outcome of a verb, and the calls to the store, for a request with these tokens. */
    async function callsOf(verb: Call, tokensFrom: (manager: TokenManager) => Promise<string[]>) {
      const { store, calls } = countedStore(new MemoryStore());
      const manager = newManager({ store, maxSessions: 200 });
      const tokens = await tokensFrom(manager);
      const send = await start(async ({ session }) => ({ outcome: await codeOf(verb(session)) }), [{ manager }]);
      calls.splice(0);
      const { status, text } = await send([`Cookie: ${tokens.map((token) => `session=${token}`).join('; ')}`]);
      return { status, ...(JSON.parse(text) as { outcome: string }), calls };
    }

    it.each([
      ['login', 'done', ['create']],
      ['logout', 'ERR_TOKEN_CONFLICT', []],
      ['logout everywhere', 'ERR_TOKEN_CONFLICT', []],
      ['rotate', 'done', []],
      ['reauthenticated', 'done', []],
    ])('of more than three sessions, none costs a %s a call', async (verb, outcome, calls) => {
      for (const isLive of [false, true]) {
        const seen = await callsOf(VERBS[verb] as Call, async (manager) => {
          // As many as Node's header limit allows.
          const tokens = [];
          for (let i = 0; i < 125; i++) tokens.push(await manager.setToken('ada'));
          if (!isLive) await manager.deleteUserToken('ada');
          return tokens;
        });
        expect(seen).toEqual({ status: 200, outcome, calls });
      }
    });

    it.each([
      ['login', ['touch', 'create']],
      ['logout', ['touch', 'end', 'end', 'end']],
      ['logout everywhere', ['touch', 'endAll', 'end', 'end']],
      ['rotate', ['touch', 'check']],
      ['reauthenticated', ['touch', 'check']],
    ])('of three sessions, at most three act in a %s', async (verb, calls) => {
      const seen = await callsOf(VERBS[verb] as Call, async (manager) => {
        const tokens = [];
        for (let session = 0; session < 3; session++) {
          let token: string | null = await manager.setToken('ada');
          for (let i = 0; i < 40; i++) {
            tokens.push(token as string);
            token = await manager.rotateToken(token as string);
          }
        }
        return tokens;
      });
      expect(seen).toEqual({ status: 200, outcome: 'done', calls });
    });
  });

  describe('the cookie', () => {
    const maxAge = (setCookie: string[]) => /; Max-Age=(\d+)/.exec(setCookie.at(-1) ?? '')?.[1];

    it("expires with the login's own absoluteTtl, or the manager's if that is sooner", async () => {
      for (const [absoluteTtl, own, expected] of [
        [undefined, 60, '60'],
        [3600, 60, '60'],
        [60, 3600, '60'],
        [undefined, undefined, '34560000'],
      ] as const) {
        const manager = newManager({ absoluteTtl });
        const send = await start(
          ({ req, session }) => (req.url === '/' ? session.login('ada', { absoluteTtl: own }) : session.rotate()),
          [{ manager }],
        );
        const { setCookie } = await send([]);
        expect(maxAge(setCookie)).toBe(expected);
        const rotated = maxAge((await send([`Cookie: session=${cookieIn(setCookie)}`], '/rotate')).setCookie);
        expect(Number(rotated)).toBeLessThanOrEqual(Number(expected));
        expect(Number(rotated)).toBeGreaterThan(0);
      }
    });

    it('of a login that is not persistent ends with the browser, after each rotation, too', async () => {
      let now = Date.now();
      const manager = newManager({ store: new MemoryStore({ now: () => now }), rotateEvery: 60 });
      const send = await start(
        async ({ req, session }) => {
          if (req.url === '/login') await session.login('ada', { persistent: false });
          if (req.url === '/rotate') await session.rotate();
          if (req.url === '/reauthenticated') await session.reauthenticated();
          return { user: session.user, token: session.token };
        },
        [{ manager }],
      );
      let cookie: string | null = null;
      for (const path of ['/login', '/rotate', '/reauthenticated', '/every']) {
        if (path === '/every') now += 61_000;
        const response = await send(cookie === null ? [] : [`Cookie: session=${cookie}`], path);
        const { user, token } = JSON.parse(response.text);
        expect(user).toEqual({ id: 'ada' });
        expect(response.setCookie).toHaveLength(1);
        expect(response.setCookie[0]).not.toMatch(/max-age|expires/i);
        expect(manager.isToken(token)).toBe(true);
        expect(cookieIn(response.setCookie)).not.toBe(cookie);
        cookie = cookieIn(response.setCookie);
      }
    });

    it('is deleted without removing a cookie of the same name on another path', async () => {
      const manager = newManager();
      const send = await start(
        async ({ req, session, clearCookie }) => {
          if (req.url === '/before') clearCookie('session', '/old');
          await session.login('ada');
          if (req.url === '/after') clearCookie('session', '/old');
        },
        [{ manager }],
      );
      for (const path of ['/before', '/after']) {
        const { setCookie } = await send([], path);
        expect(setCookie).toHaveLength(2);
        expect(setCookie.some((line) => /^session=;.*path=\/old/i.test(line))).toBe(true);
        expect(manager.isToken(cookieIn(setCookie))).toBe(true);
      }
    });
  });

  describe('rotateEvery', () => {
    it('renews the token of an older cookie, in the one call to the store', async () => {
      let now = Date.now();
      const { store, calls } = countedStore(new MemoryStore({ now: () => now }));
      const manager = newManager({ store, rotateEvery: 60 });
      const send = await start(({ session }) => ({ id: session.id, token: session.token }), [{ manager }]);
      const token = await manager.setToken('ada');
      const ask = async (headers: string[]) => {
        calls.splice(0);
        const { setCookie, text } = await send(headers, '/', 'GET');
        return { setCookie, ...(JSON.parse(text) as { id: string; token: string }), calls: [...calls] };
      };
      const fresh = await ask([`Cookie: session=${token}`]);
      expect(fresh).toMatchObject({ setCookie: [], token, calls: ['touch'] });
      now += 61_000;
      expect(await ask([`Authorization: Bearer ${token}`])).toMatchObject({ setCookie: [], token, calls: ['touch'] });
      const renewed = await ask([`Cookie: session=${token}`]);
      expect(renewed).toMatchObject({ id: fresh.id, calls: ['touch'] });
      expect(renewed.token).not.toBe(token);
      expect(cookieIn(renewed.setCookie)).toBe(renewed.token);
      expect(await ask([`Cookie: session=${renewed.token}`])).toMatchObject({
        setCookie: [],
        id: fresh.id,
        token: renewed.token,
        calls: ['touch'],
      });
      // Still in flight: its client has the newer token.
      expect(await ask([`Cookie: session=${token}`])).toMatchObject({ setCookie: [], id: fresh.id });
    });

    it('leaves one session to end to a logout, also after rotate()', async () => {
      let now = Date.now();
      const { store, calls } = countedStore(new MemoryStore({ now: () => now }));
      const manager = newManager({ store, rotateEvery: 60 });
      const send = await start(
        async ({ req, session }) => {
          if (req.url === '/rotate') await session.rotate();
          await session.logout({ everywhere: req.url === '/everywhere' });
        },
        [{ manager }],
      );
      for (const [path, ending] of [
        ['/', ['end']],
        ['/rotate', ['check', 'end']],
        ['/everywhere', ['endAll']],
      ] as const) {
        const token = await manager.setToken('ada');
        now += 61_000;
        calls.splice(0);
        await send([`Cookie: session=${token}`], path);
        expect(calls).toEqual(['touch', ...ending]);
        expect(await manager.listUserToken('ada')).toEqual([]);
      }
    });

    it('leaves the cookie that a service behind this one has set or deleted, and no other', async () => {
      let now = Date.now();
      const manager = newManager({ store: new MemoryStore({ now: () => now }), rotateEvery: 60 });
      let line = '';
      const send = await start(({ setHeader }) => setHeader('Set-Cookie', line), [{ manager }]);
      const token = await manager.setToken('ada');
      now += 61_000;
      const scope = 'Path=/; HttpOnly; SameSite=Lax';
      const login = `session=${await manager.setToken('bob')}; Max-Age=34560000; ${scope}`;
      for (line of [login, `session=; Max-Age=0; ${scope}`])
        expect((await send([`Cookie: session=${token}`])).setCookie).toEqual([line]);
      for (line of [`session=1; Path=/forum`, `session=1; Domain=example.com; Path=/`, `sessions=1; ${scope}`]) {
        const { setCookie } = await send([`Cookie: session=${token}`]);
        expect([setCookie[0], setCookie.length]).toEqual([line, 2]);
        expect((await manager.checkToken(cookieIn(setCookie) ?? ''))?.user.id).toBe('ada');
      }
    });

    it('leaves such a cookie for a domain, too, in any spelling that browsers read alike', async () => {
      let now = Date.now();
      const manager = newManager({ store: new MemoryStore({ now: () => now }), rotateEvery: 60 });
      let line = '';
      const send = await start(
        ({ setHeader }) => setHeader('Set-Cookie', line),
        [{ manager, options: { cookie: { domain: 'Example.com' } } }],
      );
      const token = await manager.setToken('ada');
      now += 61_000;
      for (const domain of ['example.com', '.example.com', 'EXAMPLE.COM']) {
        line = `session=1; Domain=${domain}; Path=/`;
        expect((await send([`Cookie: session=${token}`])).setCookie).toEqual([line]);
      }
    });

    it('renews a token signed with an older secret', async () => {
      const store = new MemoryStore();
      const newer = SECRET.toUpperCase();
      const token = await newManager({ store }).setToken('ada');
      const manager = newManager({ store, secret: [newer, SECRET], rotateEvery: 3600 });
      const send = await start(() => null, [{ manager }]);
      const renewed = cookieIn((await send([`Cookie: session=${token}`])).setCookie);
      expect(newManager({ secret: newer }).isToken(renewed)).toBe(true);
      expect((await send([`Cookie: session=${renewed}`])).setCookie).toEqual([]);
    });
  });
});

describe.each(['Express 5', 'Koa 3'] as const)('%s', (name) => {
  it('treats a request without a response as anonymous, and rejects a login on it', async () => {
    const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    const token = await manager.setToken('ada');
    const outcomes: unknown[] = [];
    const app = await listen(async (req, res) => {
      const ctx = { req, res: {}, originalUrl: '/', ip: '::1', host: 'x', secure: false };
      const holder = (name === 'Koa 3' ? ctx : req) as unknown as Visit['holder'];
      if (name === 'Koa 3') {
        await forKoa.sessionMiddleware(manager)(holder as never, async () => undefined);
      } else {
        const passed = new Promise((resolve) => {
          forExpress.sessionMiddleware(manager)(holder as never, {} as never, resolve);
        });
        expect(await passed).toBeUndefined();
      }
      outcomes.push(holder.session.user, await codeOf(holder.session.login('ada')));
      res.end();
    });
    await sendRaw(app.url, 'GET', '/', [HOST, `Cookie: session=${token}`, `Authorization: Bearer ${token}`]);
    expect(outcomes).toEqual([null, 'ERR_HEADERS_SENT']);
    expect(await manager.listUserToken('ada')).toEqual([token]);
    await app.close();
    await manager.close();
  });
});

it('rotateEvery renews no token when the response has begun: it could not carry the new one', async () => {
  let now = Date.now();
  const manager = new TokenManager({
    store: new MemoryStore({ now: () => now }),
    secret: SECRET,
    rotateEvery: 60,
  });
  const rotated: unknown[] = [];
  manager.on('rotated', (event) => rotated.push(event));
  const app = express();
  app.use((_req, res, next) => {
    res.write('{');
    next();
  });
  app.use(forExpress.sessionMiddleware(manager), ({ session }, res) => void res.end(`"token":"${session.token}"}`));
  const running = await listen(app);
  const token = await manager.setToken('ada');
  now += 61_000;
  const { text } = await ask(running.url, { headers: { cookie: `session=${token}` } });
  expect([JSON.parse(text), rotated]).toEqual([{ token }, []]);
  await running.close();
  await manager.close();
});

it("Express's middleware rejects a request of plain node:http at once", async () => {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  let failure: unknown;
  const app = await listen((req, res) => {
    forExpress.sessionMiddleware(manager)(req as never, res, (error) => {
      failure = error;
      res.end();
    });
  });
  await sendRaw(app.url, 'GET', '/', [HOST]);
  await app.close();
  await manager.close();
  expect(failure).toBeInstanceOf(TypeError);
  expect((failure as Error).message).toContain('mount it in an Express application');
});

import { type Session, type TokenClaims, TokenManager, type TokenManagerOptions } from 'tokensession';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { importSecret, signToken } from '../../src/token/token';
import { type Detail, FRAMEWORKS, listen, RECENT } from '../support/apps';
import { countedStore } from '../support/counted-store';
import { describeStores, SECRET, type StoreFixture } from '../support/stores';
import { until } from '../support/until';

/** Of most managers here, in seconds. */
const GRACE = 60;
const NEXT_SECRET = 'the secret that takes the place of the other one';

describeStores((open) => {
  let fixture: StoreFixture;
  let calls: string[];
  let sessions: TokenManager;

  beforeEach(async () => {
    fixture = await open();
  });
  afterEach(async () => {
    await sessions.close();
    await fixture.close();
  });

  async function manage(options: Partial<TokenManagerOptions<unknown>>): Promise<TokenManager> {
    const counted = countedStore(fixture.store);
    calls = counted.calls;
    sessions = new TokenManager({ store: counted.store, secret: SECRET, rotationGrace: GRACE, ...options });
    await sessions.checkToken(await sessions.setToken('another user'));
    if (sessions.cacheStats !== null) await until('the cache is up', () => sessions.cacheStats?.isUp);
    return sessions;
  }

  const use = async (token: string) => {
    for (let i = 0; i < 3; i++) expect(await sessions.touchToken(token)).toMatchObject({ token });
  };
  const rotate = async (token: string) => (await sessions.rotateToken(token)) as string;

  describe.each([false, true])('with the option cache %s', (cache) => {
    it('a stolen token, and what is rotated from it, never gains a later proof of its owner', async () => {
      await manage({ cache, rotationGrace: 100 });
      const stolen = await sessions.setToken('ada');
      await use(stolen);
      const login = (await sessions.checkToken(stolen))?.authenticatedAt;
      await fixture.elapse(20);
      const proved = await sessions.reauthenticateToken(stolen);
      const taken = [stolen, await rotate(stolen)];
      await use(proved?.token as string);
      for (let i = 0; i < 5; i++) taken.push(await rotate(stolen), await rotate(taken.at(-1) as string));
      expect(taken).not.toContain(proved?.token);
      for (const token of taken) {
        const views = [await sessions.checkToken(token), await sessions.touchToken(token)];
        views.push((await sessions.inspectToken(token, { cache: false })).session);
        expect(views.map((session) => session?.authenticatedAt)).toEqual([login, login, login]);
      }
      expect((await sessions.checkToken(proved?.token as string))?.authenticatedAt).toEqual(proved?.authenticatedAt);
      expect(Number(proved?.authenticatedAt)).toBeGreaterThan(Number(login));
    });

    it('over HTTP, what a thief rotates from the old token is no recent login', async () => {
      await manage({ cache, rotationGrace: 100 });
      const app = await listen(
        FRAMEWORKS['Express 5'](sessions as TokenManager<Detail>, {
          routes: {
            '/rotate': (session) => session.rotate(),
            '/reauthenticate': (session) => session.reauthenticated(),
          },
        }),
      );
      const ask = (path: string, token: string) =>
        fetch(app.url + path, { headers: { authorization: `Bearer ${token}` } });
      const tokenFrom = async (path: string, token: string) => (await (await ask(path, token)).json()) as string;
      try {
        const stolen = await sessions.setToken('ada');
        await use(stolen);
        await fixture.elapse((RECENT + 1) * 1000);
        const proved = await tokenFrom('/reauthenticate', stolen);
        expect((await ask('/vault', proved)).status).toBe(200);
        const taken = await tokenFrom('/rotate', stolen);
        for (const token of [stolen, taken, await tokenFrom('/rotate', taken)]) {
          expect(token).not.toBe(proved);
          expect((await ask('/me', token)).status).toBe(200);
          const refused = await ask('/vault', token);
          expect(refused.status).toBe(403);
          expect(await refused.json()).toEqual({ error: 'reauthentication_required' });
        }
        expect((await ask('/vault', proved)).status).toBe(200);
      } finally {
        await app.close();
      }
    });

    it('a token made in the same millisecond as the re-authenticated one keeps the older proof', async () => {
      await manage({ cache, rotationGrace: 100 });
      const stolen = await sessions.setToken('ada');
      const login = (await sessions.checkToken(stolen))?.authenticatedAt as Date;
      await fixture.elapse(20);
      const proved = (await sessions.reauthenticateToken(stolen)) as Session;
      const claims = requestSessionsOf(sessions).readToken(proved.token) as TokenClaims;
      const taken = signToken({ ...claims, provedAt: Number(login) }, importSecret(SECRET));
      await use(proved.token);
      for (const token of [taken, taken, taken, proved.token, proved.token, taken]) {
        const expected = token === taken ? login : proved.authenticatedAt;
        expect((await sessions.touchToken(token))?.authenticatedAt).toEqual(expected);
      }
    });

    it('a rotation whose reply was lost revives nothing, and a stolen token is still detected', async () => {
      await manage({ cache });
      const stolen = await sessions.setToken('ada');
      await use(stolen);
      await rotate(stolen);
      await fixture.elapse(GRACE * 1000);
      await use(stolen);
      const next = await rotate(stolen);
      await use(next);
      await fixture.elapse(GRACE * 1000);
      expect(await sessions.inspectToken(stolen)).toEqual({ session: null, reason: 'reused' });
      expect(await sessions.inspectToken(next)).toEqual({ session: null, reason: 'reused' });
    });

    it('a rotation costs the store one check, after any number of rotations', async () => {
      await manage({ cache });
      let token = await sessions.setToken('ada');
      calls.length = 0;
      for (let i = 0; i < 300; i++) token = await rotate(token);
      expect(calls).toEqual(Array.from({ length: 300 }, () => 'check'));
      await use(token);
      expect(await sessions.listUserToken('ada')).toEqual([token]);
    });

    it('after 150 rotations the first token is still detected as a reuse, and ends the session', async () => {
      await manage({ cache });
      for (const end of ['deleteToken', 'checkToken'] as const) {
        const reused: unknown[] = [];
        const listener = (event: unknown) => void reused.push(event);
        sessions.on('reused', listener);
        const first = await sessions.setToken('ada');
        const id = (await sessions.checkToken(first))?.id as string;
        let token = first;
        for (let i = 0; i < 150; i++) {
          token = await rotate(token);
          expect(await sessions.touchToken(token)).toMatchObject({ id });
        }
        await fixture.elapse(GRACE * 1000);
        expect(await sessions[end](first)).toEqual(end === 'deleteToken' ? true : null);
        expect(await sessions.checkToken(token)).toBeNull();
        expect(await sessions.listUserToken('ada')).toEqual([]);
        expect(reused).toEqual(end === 'deleteToken' ? [] : [{ userId: 'ada', sessionId: id, ended: true }]);
        sessions.off('reused', listener);
      }
    });
  });

  it('a thief who rotates within the grace of the owner is not found until only one of them rotates', async () => {
    // The known limit of rotations: this thief looks like a parallel request of the owner.
    await manage({});
    const reused: unknown[] = [];
    sessions.on('reused', (event) => reused.push(event));
    let owner = await sessions.setToken('ada');
    let thief = owner;
    for (let round = 0; round < 5; round++) {
      await fixture.elapse(10 * GRACE * 1000);
      const next = await rotate(owner);
      await fixture.elapse((GRACE / 2) * 1000);
      [owner, thief] = [next, await rotate(thief)];
      await use(owner);
      await fixture.elapse(10 * GRACE * 1000);
      await use(thief);
      await use(owner);
    }
    expect(reused).toEqual([]);
    owner = await rotate(owner);
    await use(owner);
    await fixture.elapse(GRACE * 1000);
    for (const token of [thief, owner]) {
      expect(await sessions.inspectToken(token)).toEqual({ session: null, reason: 'reused' });
    }
    expect(reused).toHaveLength(1);
  });

  describe('rotateEvery', () => {
    const renewed = async (token: string) => {
      const { session } = await requestSessionsOf(sessions).open(token);
      if (session === null) throw new Error('the session is not live');
      return requestSessionsOf(sessions).rotations.isDue(session)
        ? requestSessionsOf(sessions).rotations.renewed(session)
        : null;
    };

    it('renews a token of that age, without an extra call to the store', async () => {
      await manage({ rotateEvery: 2 * GRACE });
      const token = await sessions.setToken('ada');
      expect(await renewed(token)).toBeNull();
      await fixture.elapse(2 * GRACE * 1000);
      calls.length = 0;
      const next = (await renewed(token)) as string;
      expect(calls).toEqual(['touch']);
      await use(next);
      expect(await renewed(next)).toBeNull();
    });

    it('renews a token that was made while the clock was that far ahead', async () => {
      await manage({ rotateEvery: 3600 });
      const token = await sessions.setToken('ada');
      await fixture.elapse(-24 * 3600 * 1000);
      const next = (await renewed(token)) as string;
      await use(next);
      expect(await renewed(next)).toBeNull();
    });

    it('renews a token signed with an older secret', async () => {
      await manage({ rotateEvery: 3600 });
      const token = await sessions.setToken('ada');
      await manage({ rotateEvery: 3600, secret: [NEXT_SECRET, SECRET] });
      const next = (await renewed(token)) as string;
      expect(await renewed(next)).toBeNull();
      await manage({ secret: NEXT_SECRET });
      await use(next);
      expect(await sessions.checkToken(token)).toBeNull();
    });

    it('renews no former token in its grace, and none at all without the option', async () => {
      await manage({ rotateEvery: 3601, rotationGrace: 3600 });
      const token = await sessions.setToken('ada');
      await fixture.elapse(3600 * 1000);
      await use(await rotate(token));
      await fixture.elapse(GRACE * 1000);
      expect(await renewed(token)).toBeNull();
      await manage({ secret: [NEXT_SECRET, SECRET], rotationGrace: 3600 });
      expect(await renewed(token)).toBeNull();
      expect(await renewed(await rotate(token))).toBeNull();
    });
  });
});

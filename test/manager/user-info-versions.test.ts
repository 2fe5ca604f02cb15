import { type GetUserInfo, SessionError, type Store, TokenManager } from 'tokensession';
import { describeStores, SECRET, type StoreFixture } from '../support/stores';
import { until } from '../support/until';
import { wrapStore } from '../support/wrapped-store';

type Detail = { name: string };

/*
 * Two processes with one store: one starts a slow load, the other changes the user, then the load ends.
 */
describeStores((open) => {
  let fixture: StoreFixture;
  beforeEach(async () => {
    fixture = await open();
  });
  afterEach(() => fixture.close());

  const manage = (store: Store, getUserInfo?: GetUserInfo<Detail>) =>
    new TokenManager<Detail>({ store, secret: SECRET, getUserInfo });

  /** A process that is loading ada's info, and `finish`, which ends the load and waits for its result. */
  async function slowLoad() {
    let arrive: (detail: Detail | null) => void = () => undefined;
    const getUserInfo = jest.fn<Promise<Detail | null>, [string]>(() => new Promise((resolve) => (arrive = resolve)));
    const kept: unknown[] = [];
    const watched = wrapStore(fixture.store, (method, call) => {
      const reply = call();
      if (method === 'setUserInfo' || method === 'endAll') kept.push(reply);
      return reply;
    });
    const slow = manage(watched, getUserInfo);
    const token = await slow.setToken('ada');
    const touched = slow.touchToken(token);
    await until('the load has begun', () => getUserInfo.mock.calls.length === 1);
    const finish = async (detail: Detail | null) => {
      arrive(detail);
      const session = await touched;
      await until('the store has its outcome', () => kept.length === 1);
      await Promise.all(kept);
      return session;
    };
    return { token, finish };
  }

  /** What processes find in the cache for the session's user. */
  const cachedFor = async (token: string) => (await manage(fixture.other).touchToken(token))?.user.detail;

  it('addUser loads for itself after the load of a check whose info the store has refused', async () => {
    let isFull = false;
    let refuse: (() => void) | null = null;
    const refusing = wrapStore(fixture.store, (method, call) => {
      if (method !== 'setUserInfo' || !isFull) return call();
      return new Promise((_, reject) => {
        refuse = () => reject(new SessionError('ERR_STORE_UNAVAILABLE', 'out of memory'));
      });
    });
    const sessions = manage(refusing, () => ({ name: 'Ada' }));
    const token = await sessions.setToken('ada');
    isFull = true;
    await sessions.touchToken(token);
    await until('the store is asked to keep it', () => refuse !== null);
    const added = sessions.addUser('ada');
    isFull = false;
    (refuse as unknown as () => void)();
    expect(await added).toEqual({ id: 'ada', detail: { name: 'Ada' } });
  });

  it('a load that began before refreshUser in another process does not overwrite it', async () => {
    const { token, finish } = await slowLoad();
    expect(await manage(fixture.other, () => ({ name: 'new' })).refreshUser(['ada'])).toBe(1);
    expect((await finish({ name: 'old' }))?.user.detail).toEqual({ name: 'old' });
    expect(await cachedFor(token)).toEqual({ name: 'new' });
  });

  it('a load that began before refreshUser does not overwrite it when it joins the load of a check', async () => {
    const loads: ((detail: Detail) => void)[] = [];
    let isSlow = true;
    let answer: () => void = () => undefined;
    const held = wrapStore(fixture.store, async (method, call) => {
      const reply = await call();
      if (method === 'touch' && loads.length === 1) await new Promise<void>((resolve) => (answer = resolve));
      return reply;
    });
    const here = manage(held, () => (isSlow ? new Promise((resolve) => loads.push(resolve)) : { name: 'new' }));
    const mine = await here.setToken('ada');
    const touches = [here.touchToken(mine)];
    await until('a load has begun', () => loads.length === 1);
    // The answer to another check is in flight while another process begins its load.
    touches.push(here.touchToken(mine));
    await fixture.elapse(5);
    const { token, finish } = await slowLoad();

    const refreshed = here.refreshUser(['ada']);
    // Makes the first load obsolete; the second check begins another.
    await here.setToken('ada');
    answer();
    await until('the load of that check has begun', () => loads.length === 2);
    isSlow = false;
    loads[0]?.({ name: 'old' });
    await fixture.elapse(50);
    loads[1]?.({ name: 'new' });
    expect(await refreshed).toBe(1);
    await Promise.all(touches);
    await finish({ name: 'old' });
    expect(await cachedFor(token)).toEqual({ name: 'new' });
  });

  it('a load that began before deleteUser in another process is not cached', async () => {
    const { token, finish } = await slowLoad();
    expect(await manage(fixture.other).deleteUser('ada')).toBe(false);
    await finish({ name: 'old' });
    expect(await cachedFor(token)).toBeUndefined();
  });

  it('a check after deleteUser in another process does not join a load that began before', async () => {
    const loads: ((detail: Detail) => void)[] = [];
    const here = manage(fixture.store, () => new Promise((resolve) => loads.push(resolve)));
    const token = await here.setToken('ada');
    const before = here.touchToken(token);
    await until('a load has begun', () => loads.length === 1);
    await fixture.elapse(5);
    await manage(fixture.other).deleteUser('ada');
    const after = [here.touchToken(token), here.touchToken(token)];
    await until('another load has begun', () => loads.length === 2);
    loads[0]?.({ name: 'old' });
    loads[1]?.({ name: 'new' });
    expect((await before)?.user.detail).toEqual({ name: 'old' });
    for (const session of after) expect((await session)?.user.detail).toEqual({ name: 'new' });
    expect(loads).toHaveLength(2);
    await until('it is cached', async () => (await cachedFor(token))?.name === 'new');
  });

  it('a load that began before another process found the user deleted is not cached', async () => {
    const { token, finish } = await slowLoad();
    expect(await manage(fixture.other, () => null).addUser('ada')).toBeNull();
    await finish({ name: 'old' });
    expect(await cachedFor(token)).toBeUndefined();
    expect(await cachedFor(await manage(fixture.other).setToken('ada'))).toBeUndefined();
  });

  it('a load that began before a login in another process, with the result "no such user", ends nothing', async () => {
    const { token, finish } = await slowLoad();
    const login = await manage(fixture.other, () => ({ name: 'new' })).createSession('ada');
    expect(await finish(null)).toBeNull();
    expect(await cachedFor(login.token)).toEqual({ name: 'new' });
    expect(await cachedFor(token)).toEqual({ name: 'new' });
  });

  it('a load that began before a refresh is not cached even after the refreshed info has expired', async () => {
    const { token, finish } = await slowLoad();
    expect(await manage(fixture.other, () => ({ name: 'new' })).refreshUser(['ada'], 1)).toBe(1);
    await fixture.elapse(1100);
    expect(await cachedFor(token)).toBeUndefined();
    await finish({ name: 'old' });
    expect(await cachedFor(token)).toBeUndefined();
  });

  it('an undisturbed load is cached, and one with the result "no such user" ends the sessions', async () => {
    const first = await slowLoad();
    await first.finish({ name: 'loaded' });
    expect(await cachedFor(first.token)).toEqual({ name: 'loaded' });
    await manage(fixture.other).deleteUser('ada');
    const second = await slowLoad();
    expect(await second.finish(null)).toBeNull();
    expect(await manage(fixture.other).listUserToken('ada')).toEqual([]);
  });
});

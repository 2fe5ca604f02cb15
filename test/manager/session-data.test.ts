import { inspect } from 'node:util';
import { type SessionData, type Store, TokenManager, type TokenManagerOptions } from 'tokensession';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { describeStores, SECRET, type StoreFixture } from '../support/stores';

type Data = SessionData<Record<string, unknown>>;

describeStores((open) => {
  let fixture: StoreFixture;
  let sessions: TokenManager;
  /** Another process on the same store. */
  let elsewhere: TokenManager;
  let token: string;
  let data: Data;

  const manage = (store: Store, options: Partial<TokenManagerOptions<unknown>> = {}) =>
    new TokenManager({ store, secret: SECRET, ...options });
  /** A manager with other options on the same store, and the data of one of its new sessions. */
  const dataWith = async (options: Partial<TokenManagerOptions<unknown>>): Promise<Data> => {
    const manager = manage(fixture.store, options);
    return manager.sessionData(await manager.setToken('bob'));
  };

  beforeEach(async () => {
    fixture = await open();
    sessions = manage(fixture.store);
    elsewhere = manage(fixture.other);
    token = await sessions.setToken('ada');
    data = sessions.sessionData(token);
  });
  afterEach(() => fixture.close());

  it('set by one process is read by every other', async () => {
    await data.set('cart', [{ id: 7, n: 2 }]);
    await data.set({ theme: 'dark', visits: 1 });
    const there: Data = elsewhere.sessionData(token);
    expect(await there.get('cart')).toEqual([{ id: 7, n: 2 }]);
    expect(await there.getAll()).toEqual({ cart: [{ id: 7, n: 2 }], theme: 'dark', visits: 1 });
    expect(await there.get('nothing')).toBeUndefined();
  });

  it.each(['', 'a'.repeat(300), '__proto__', 'constructor', 'héhé 💚', 'with:colon', 'line\nbreak', '0'])(
    'accepts any non-empty text as a key: %j',
    async (key) => {
      if (key === '') {
        await expect(data.set(key, 1)).rejects.toThrow(RangeError);
        await expect(data.get(key)).rejects.toThrow(RangeError);
        return;
      }
      await data.set(key, { is: key });
      expect(await data.get(key)).toEqual({ is: key });
      expect(Object.entries(await data.getAll())).toEqual([[key, { is: key }]]);
      expect(await data.pop(key)).toEqual({ is: key });
    },
  );

  it.each([null, true, 0, -1.5, 1e300, '', 'text\u2028', '\ud800', [], {}, [null, [1]], { a: { b: undefined } }])(
    'returns what JSON can represent: %j',
    async (value) => {
      await data.set('key', value);
      expect(await elsewhere.sessionData(token).get('key')).toEqual(value);
    },
  );

  class Point {
    x = 1;
  }
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  it.each([
    ['undefined', undefined, 'key'],
    ['NaN', { a: [Number.NaN] }, 'key.a[0]'],
    ['Infinity', Number.POSITIVE_INFINITY, 'key'],
    ['a BigInt', [1n], 'key[0]'],
    ['a function', { f: () => 1 }, 'key.f'],
    ['a symbol', Symbol('s'), 'key'],
    ['a Date', { when: new Date() }, 'key.when'],
    ['a Map', new Map(), 'key'],
    ['an instance of a class', [new Point()], 'key[0]'],
    ['undefined in an array', [1, undefined], 'key[1]'],
    // biome-ignore lint/suspicious/noSparseArray: the hole is what is tested
    ['a hole', [1, , 2], 'key[1]'],
    ['a cycle', cycle, 'key.self'],
    ['an object with toJSON', { toJSON: () => 1 }, 'key'],
    ['an array with a property', [Object.assign([1], { total: 1 })], 'key[0]'],
    ['a property with a symbol for its key', { a: { [Symbol('s')]: 1 } }, 'key.a'],
    ['an instance of a class of arrays', [new (class Cart extends Array {})()], 'key[0]'],
    ['an array with toJSON', [Object.assign([1], { toJSON: () => 1 })], 'key[0]'],
  ])('rejects %s with its path, and keeps the old value', async (_name, value, place) => {
    await data.set({ key: 'old', other: 1 });
    await expect(data.set({ other: 2, key: value })).rejects.toMatchObject({
      name: 'TypeError',
      message: expect.stringContaining(`${place} `),
    });
    expect(await data.getAll()).toEqual({ key: 'old', other: 1 });
  });

  it('rejects arguments of the wrong type before a call to the store', async () => {
    await expect(data.set(7 as never, 1)).rejects.toThrow('key must be a string');
    await expect(data.set(null as never)).rejects.toThrow('values must be a plain object');
    await expect(data.set([1] as never)).rejects.toThrow('values must be a plain object');
    await expect(data.set(new Map([['key', 1]]) as never)).rejects.toThrow(
      'values must be a plain object of keys and values, got a Map',
    );
    await expect(data.set(new Date() as never)).rejects.toThrow('values must be a plain object');
    await expect(data.set({ key: 1, [Symbol('s')]: 2 } as never)).rejects.toThrow('got a symbol for a key');
    await expect(data.get('\ud800')).rejects.toThrow('lone surrogate');
    await expect(data.increment('n', '1' as never)).rejects.toThrow('by must be a number');
    await expect(data.increment('n', Number.NaN)).rejects.toThrow('by must be a finite number');
    await expect(data.update('n', 1 as never)).rejects.toThrow('change must be a function');
    expect(await data.getAll()).toEqual({});
  });

  it('rejects an assignment, which would be lost, in sloppy mode too', async () => {
    const assign = new Function('data', 'name', 'data[name] = 1') as (data: object, name: string) => void;
    for (const name of ['theme', 'get', 'toJSON']) {
      expect(() => assign(data, name)).toThrow(`data.set("${name}", …)`);
      expect(() => Object.assign(data, { [name]: 1 })).toThrow(TypeError);
    }
    expect(() => Object.defineProperty(data, 'theme', { value: 1 })).toThrow(TypeError);
    expect(inspect(data)).not.toContain(token);
    expect(await data.getAll()).toEqual({});
  });

  it('deletes a key, takes a value out, clears all', async () => {
    await data.set({ a: 1, b: 2, c: 3 });
    expect(await data.delete('a')).toBe(true);
    expect(await data.delete('a')).toBe(false);
    expect(await data.pop('b')).toBe(2);
    expect(await data.pop('b')).toBeUndefined();
    expect(await data.getAll()).toEqual({ c: 3 });
    await data.clear();
    expect(await data.getAll()).toEqual({});
  });

  it('counts up and down', async () => {
    expect(await data.increment('visits')).toBe(1);
    expect(await data.increment('visits', 2.5)).toBe(3.5);
    expect(await data.increment('visits', -3.5)).toBe(0);
    expect(await data.increment('big', Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER);
    expect(await data.increment('tenth', 0.1)).toBe(0.1);
    expect(await data.increment('tenth', 0.2)).toBe(0.1 + 0.2);
    await data.set({ text: '12', huge: 1e308 });
    await expect(data.increment('text')).rejects.toThrow(TypeError);
    await expect(data.increment('huge', 1.7e308)).rejects.toThrow(RangeError);
    expect(await data.get('text')).toBe('12');
  });

  it('loses none of 200 parallel writes to different keys, counts and updates, from two processes', async () => {
    const there: Data = elsewhere.sessionData(token);
    const writes = Array.from({ length: 200 }, (_, i) => (i % 2 ? data : there).set(`key-${i}`, i));
    const counts = Array.from({ length: 200 }, (_, i) => (i % 2 ? data : there).increment('count'));
    const updates = Array.from({ length: 10 }, (_, i) =>
      (i % 2 ? data : there).update('list', (list) => [...((list as number[]) ?? []), i]),
    );
    await Promise.all([...writes, ...counts, ...updates]);
    const { count, list, ...keys } = await data.getAll();
    expect(count).toBe(200);
    expect((list as number[]).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(keys).toEqual(Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`key-${i}`, i])));
  });

  describe('update', () => {
    it('returns the new value, deletes for undefined, and writes nothing for an unchanged value', async () => {
      expect(await data.update('n', (n) => ((n as number) ?? 0) + 1)).toBe(1);
      expect(await data.update('n', (n) => n)).toBe(1);
      expect(await data.update('n', () => undefined)).toBeUndefined();
      expect(await data.getAll()).toEqual({});
    });

    it('runs again on the new value when another request was faster', async () => {
      await data.set('n', 1);
      const seen: unknown[] = [];
      const updated = await data.update('n', async (n) => {
        seen.push(n);
        if (seen.length === 1) await elsewhere.sessionData(token).set('n', 10);
        return (n as number) + 1;
      });
      expect({ seen, updated }).toEqual({ seen: [1, 10], updated: 11 });
    });

    it('gives up after too many conflicts, and rethrows what the callback throws', async () => {
      const late = data.update('n', async () => {
        await elsewhere.sessionData(token).increment('n');
        return 0;
      });
      await expect(late).rejects.toMatchObject({ code: 'ERR_DATA_CONFLICT', status: 409 });
      await expect(
        data.update('n', () => {
          throw new Error('mine');
        }),
      ).rejects.toThrow('mine');
      expect(await data.get('n')).toBe(20);
    });
  });

  describe('limits', () => {
    const tooLarge = { code: 'ERR_DATA_TOO_LARGE', status: 413 };

    it('restrict the bytes of keys and JSON, and still permit deleting', async () => {
      const small = await dataWith({ maxDataBytes: 20 });
      await small.set('0123456789', 12_345_678);
      await small.set('0123456789', 1_234_567_890);
      await expect(small.set('k', 1)).rejects.toMatchObject(tooLarge);
      await expect(small.set({ '0123456789': 1, é: '12345678' })).rejects.toMatchObject(tooLarge);
      await expect(small.increment('0123456789', 1e15)).rejects.toMatchObject(tooLarge);
      expect(await small.getAll()).toEqual({ '0123456789': 1_234_567_890 });
      await small.delete('0123456789');
      await small.set('é', '123456789012345');
      expect(await small.get('é')).toBe('123456789012345');
    });

    it('reject a value that is too large by itself before a call to the store', async () => {
      const small = await dataWith({ maxDataBytes: 20 });
      const write = jest.spyOn(fixture.store, 'writeData');
      await expect(small.set('key', 'é'.repeat(8))).rejects.toMatchObject(tooLarge);
      await expect(small.set({ a: '12345678', b: '1234567' })).rejects.toMatchObject(tooLarge);
      await expect(small.update('key', () => 'x'.repeat(16))).rejects.toMatchObject(tooLarge);
      expect(write).not.toHaveBeenCalled();
      await small.set('key', 'x'.repeat(15));
      expect(write).toHaveBeenCalledTimes(1);
    });

    it('count a sum by its shortest decimal form', async () => {
      const small = await dataWith({ maxDataBytes: 4 });
      expect(await small.increment('n', 0.1)).toBe(0.1);
      expect(await small.increment('n', 0.4)).toBe(0.5);
      await expect(small.increment('n', 0.01)).rejects.toMatchObject(tooLarge);
    });

    it('restrict the number of keys', async () => {
      const few = await dataWith({ maxDataKeys: 2 });
      await few.set({ a: 1, b: 2 });
      await expect(few.set('c', 3)).rejects.toMatchObject(tooLarge);
      await expect(few.increment('c')).rejects.toMatchObject(tooLarge);
      await expect(few.set({ a: 1, b: 2, c: 3 })).rejects.toMatchObject(tooLarge);
      await few.set({ a: 3 });
      await few.delete('b');
      await few.set('c', 4);
      expect(await few.getAll()).toEqual({ a: 3, c: 4 });
    });

    it('that became lower forbid no deletion', async () => {
      await data.set({ a: 1, b: 'x'.repeat(30), c: 3 });
      for (const options of [{ maxDataBytes: 20 }, { maxDataKeys: 1 }]) {
        const lower: Data = manage(fixture.store, options).sessionData(token);
        await expect(lower.set('a', 2)).rejects.toMatchObject(tooLarge);
        await lower.update('a', () => undefined);
        expect(await lower.getAll()).toEqual({ b: 'x'.repeat(30), c: 3 });
        await data.set('a', 1);
      }
    });

    it('accept the largest allowed data in one call', async () => {
      const full = await dataWith({ maxDataKeys: 1000, maxDataBytes: 16 * 2 ** 20 });
      const values = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`key-${i}`, 'x'.repeat(1000)]));
      await full.set(values);
      expect(await full.getAll()).toEqual(values);
    });
  });

  describe('lives and ends with its session', () => {
    const ended = { code: 'ERR_NO_SESSION', status: 401 };
    /** The session has no readable data, and no write revives any. */
    async function expectGone(gone: Data) {
      expect(await gone.getAll()).toEqual({});
      expect(await gone.get('key')).toBeUndefined();
      await expect(gone.set('key', 2)).rejects.toMatchObject(ended);
      await expect(gone.increment('n')).rejects.toMatchObject(ended);
      await expect(gone.update('key', () => 3)).rejects.toMatchObject(ended);
      await expect(gone.pop('key')).rejects.toMatchObject(ended);
      await expect(gone.clear()).rejects.toMatchObject(ended);
      expect(await gone.getAll()).toEqual({});
    }

    it.each<[string, (sessions: TokenManager, token: string, id: string) => Promise<unknown>]>([
      ['its logout', (manager, ended) => manager.deleteToken(ended)],
      ['a kick by its id', (manager, _, id) => manager.deleteSession('ada', id)],
      ['the end of all sessions', (manager) => manager.deleteUserToken('ada')],
      ['a ban', (manager) => manager.banUser('ada')],
      ['a login that replaces it', (manager, ended) => manager.createSession('ada', { replaces: [ended] })],
    ])('%s', async (_name, end) => {
      await data.set({ key: 1, n: 1 });
      const { id } = (await sessions.checkToken(token)) as { id: string };
      await end(elsewhere, token, id);
      await expectGone(data);
    });

    it('a limit, and the theft of a token', async () => {
      const strict = manage(fixture.store, { singleMode: true, rotationGrace: 0 });
      const first = await strict.setToken('eve');
      const ofFirst: Data = strict.sessionData(first);
      await ofFirst.set('key', 1);
      const second = await strict.setToken('eve');
      await expectGone(ofFirst);
      await strict.sessionData(second).set('key', 2);
      const next = (await strict.rotateToken((await strict.rotateToken(second)) as string)) as string;
      await strict.touchToken(next);
      expect(await strict.sessionData(next).get('key')).toBe(2);
      // The former token is now a reuse: it reads nothing, and ends the session.
      const reused = jest.fn();
      strict.on('reused', reused);
      await expectGone(strict.sessionData(second));
      await expectGone(strict.sessionData(next));
      expect(reused).toHaveBeenCalledTimes(1);
    });

    it.each([
      ['expiry', { ttl: 60 }],
      ['absolute expiry', { absoluteTtl: 60 }],
    ])('%s', async (_name, bound) => {
      const ofBrief = await dataWith(bound);
      await ofBrief.set('key', 1);
      await fixture.elapse(60_000);
      await expectGone(ofBrief);
    });

    it('slides with its session, and survives rotations', async () => {
      const brief = await sessions.setToken('ada', 60);
      await sessions.sessionData(brief).set('key', 1);
      for (let i = 0; i < 4; i++) {
        await fixture.elapse(40_000);
        expect(await sessions.touchToken(brief)).not.toBeNull();
      }
      const rotated = (await sessions.rotateToken(brief)) as string;
      expect(await sessions.sessionData(rotated).get('key')).toBe(1);
      await sessions.touchToken(rotated);
      expect(await sessions.sessionData(rotated).get('key')).toBe(1);
    });

    it.each(['only', 'older'])(
      'beside a logout is read completely or not at all: the user’s %s session',
      async (which) => {
        await data.set('key', 1);
        if (which === 'older') await sessions.setToken('ada');
        const read = () => requestSessionsOf(sessions).open(token, true);
        const [before, , after] = await Promise.all([read(), sessions.deleteToken(token), read()]);
        expect(before.session?.data).toEqual(new Map([['key', '1']]));
        expect(after.session).toBeNull();
        await expectGone(data);
      },
    );

    it('belongs to one session alone', async () => {
      await data.set('key', 1);
      const other = sessions.sessionData(await sessions.setToken('ada'));
      expect(await other.getAll()).toEqual({});
      await sessions.deleteToken(token);
      await other.set('key', 2);
      expect(await other.get('key')).toBe(2);
    });

    it('is not accessible without a signed token', async () => {
      for (const junk of ['', 'junk', `${token}x`, 7, null]) await expectGone(sessions.sessionData(junk as string));
    });
  });
});

import { randomInt } from 'node:crypto';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { type Detail, FRAMEWORKS, listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { DataLedger } from '../support/data-ledger';
import { gate } from '../support/gate';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { until } from '../support/until';

/*
 * Session data under parallel writes of many processes, while sessions end, and while Redis fails.
 */

const onClose = closeAfterEach();

interface Given {
  prefixes?: ReturnType<typeof randomPrefixes>;
  timeoutMs?: number;
}

/** Services that share the sessions, each with a client of its own. */
function services(url: string, { prefixes = randomPrefixes(), ...options }: Given = {}): TokenManager<Detail>[] {
  const all = Array.from({ length: 4 }, () => {
    const store = new RedisStore(url, { ...PATIENT, ...options, ...prefixes });
    return new TokenManager<Detail>({ store, secret: SECRET, maxDataKeys: 1000, maxDataBytes: 2 ** 20 });
  });
  onClose(() => Promise.all(all.map((manager) => manager.close())));
  return all;
}

const WRITERS = Array.from({ length: 200 }, (_, index) => index);

describe('200 writers over four clients', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  it.each(['a user’s', 'a visitor’s'])('lose no write to different keys of %s session', async (whose) => {
    const all = services(server.url);
    const token = await startedBy(all[0] as TokenManager<Detail>, whose);
    const dataOf = (writer: number) => (all[writer % all.length] as TokenManager<Detail>).sessionData(token);
    await Promise.all(
      WRITERS.map(async (writer) => {
        const data = dataOf(writer);
        await data.set(`set ${writer}`, writer);
        await data.increment(`count ${writer}`, writer);
        await data.set(`gone ${writer}`, 1);
        expect(await data.pop(`gone ${writer}`)).toBe(1);
        await data.update(`set ${writer}`, (value) => [value, writer]);
      }),
    );
    const wanted = WRITERS.flatMap((n): [string, unknown][] => [
      [`set ${n}`, [n, n]],
      [`count ${n}`, n],
    ]);
    expect(await dataOf(1).getAll()).toEqual({ begin: 0, ...Object.fromEntries(wanted) });
  });

  it('lose no write to the same keys: counts, updates, and messages that one writer takes', async () => {
    const all = services(server.url);
    const token = await startedBy(all[0] as TokenManager<Detail>, 'a user’s');
    const dataOf = (writer: number) => (all[writer % all.length] as TokenManager<Detail>).sessionData(token);
    const messages = WRITERS.slice(0, 20).map((n) => [`message ${n}`, n]);
    await dataOf(0).set(Object.fromEntries(messages));
    const taken = await Promise.all(
      WRITERS.map(async (writer) => {
        const data = dataOf(writer);
        const [message] = await Promise.all([
          data.pop(`message ${writer % 20}`),
          data.increment('count'),
          data.update(`list ${writer % 10}`, (list = []) => [...(list as number[]), writer]),
        ]);
        return message;
      }),
    );
    expect(taken.filter((message) => message !== undefined).sort()).toEqual(messages.map(([, n]) => n).sort());
    const { begin, count, ...lists } = await dataOf(0).getAll();
    expect([begin, count]).toEqual([0, 200]);
    const written = Object.entries(lists).map(([key, list]) => [key, (list as number[]).toSorted((a, b) => a - b)]);
    const wanted = WRITERS.slice(0, 10).map((n) => [`list ${n}`, WRITERS.filter((writer) => writer % 10 === n)]);
    expect(Object.fromEntries(written)).toEqual(Object.fromEntries(wanted));
  });
});

describe('a logout during a slow request', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  /** Everything that Redis stores of any session, by key. */
  const held = async () => Promise.all((await server.admin.keys('*')).map((key) => server.admin.hkeys(key)));

  it.each(Object.keys(FRAMEWORKS) as (keyof typeof FRAMEWORKS)[])(
    'refuses the writes of that request, and brings nothing back: %s',
    async (framework) => {
      await server.admin.flushall();
      const [here, elsewhere] = services(server.url) as [TokenManager<Detail>, TokenManager<Detail>];
      const slow = gate();
      const writes: Record<string, (data: ReturnType<typeof here.sessionData>) => Promise<unknown>> = {
        set: (data) => data.set('late', 1),
        increment: (data) => data.increment('count'),
        pop: (data) => data.pop('begin'),
        clear: (data) => data.clear(),
        update: (data) => data.update('late', () => 2),
      };
      const app = await listen(
        FRAMEWORKS[framework](here, {
          routes: {
            '/slow': async ({ data }) => {
              await data.set('count', 1);
              const updated = data.update('count', async () => {
                await slow.wait();
                return 2;
              });
              const codes = [await codeOf(updated)];
              for (const write of Object.values(writes)) codes.push(await codeOf(write(data)));
              return codes;
            },
          },
        }),
      );
      onClose(() => app.close());
      const token = await startedBy(here, 'a user’s');
      const answering = fetch(`${app.url}/slow`, { headers: { Authorization: `Bearer ${token}` } });
      await slow.arrival;
      expect(await elsewhere.deleteToken(token)).toBe(true);
      slow.open();
      const answer = await answering;
      expect(await answer.json()).toEqual(Array.from({ length: 6 }, () => 'ERR_NO_SESSION'));
      expect(await held()).toEqual([]);
    },
  );

  it.each(['a user’s', 'a visitor’s'])(
    'precedes a write that the network delayed, and that write fails: %s session',
    async (whose) => {
      await server.admin.flushall();
      const proxy = await startProxy(server.port);
      onClose(() => proxy.stop());
      const prefixes = randomPrefixes();
      const managed = (port: number) => {
        const store = new RedisStore({ host: '127.0.0.1', port }, { ...prefixes, ...PATIENT });
        const manager = new TokenManager<Detail>({ store, secret: SECRET });
        onClose(() => manager.close());
        return manager;
      };
      const slow = managed(proxy.port);
      const token = await startedBy(slow, whose);
      const data = slow.sessionData(token);
      await data.set('early', 1);
      proxy.hold();
      const late = [data.set('late', 1), data.increment('late'), data.update('late', () => 1), data.pop('early')];
      const codes = Promise.all(late.map(codeOf));
      expect(await managed(server.port).deleteToken(token)).toBe(true);
      proxy.pass();
      expect(await codes).toEqual(late.map(() => 'ERR_NO_SESSION'));
      expect(await held()).toEqual([]);
    },
  );
});

describe('a Redis with an append-only file', () => {
  it('keeps every acknowledged write of a live session when killed and paused under many writers', async () => {
    const server = await startRedis({ appendonly: 'yes', appendfsync: 'always' });
    onClose(() => server.stop());
    const prefixes = randomPrefixes();
    const all = services(server.url, { prefixes, timeoutMs: 300 });
    const ledger = new DataLedger();
    let isOver = false;
    const work = async (manager: TokenManager<Detail>) => {
      // Yields, since a call that fails at once would block all others.
      for (; !isOver; await nextTurn()) await ledger.step(manager);
    };
    const workers = all.flatMap((manager) => Array.from({ length: 8 }, () => work(manager)));
    const busy = (writes: number) => {
      const before = ledger.acknowledged;
      return until(`${writes} more writes are acknowledged`, () => ledger.acknowledged > before + writes);
    };
    try {
      for (let round = 0; round < 3; round++) {
        await busy(300);
        await sleep(randomInt(20));
        await server.kill();
        await server.restart();
        await busy(300);
        server.pause();
        const { failed } = ledger;
        await until('calls are given up', () => ledger.failed > failed);
        if (round % 2 === 0) server.resume();
        else await server.restart();
      }
      await busy(100);
    } finally {
      isOver = true;
      await Promise.all(workers);
    }
    const [patient] = services(server.url, { prefixes });
    expect(await ledger.differences(patient as TokenManager<Detail>)).toEqual([]);
    expect(ledger.failed).toBeGreaterThan(0);
  });
});

/** The token of a new session, which has data. */
async function startedBy(manager: TokenManager<Detail>, whose: string): Promise<string> {
  const data = new Map([['begin', '0']]);
  const session =
    whose === 'a user’s'
      ? requestSessionsOf(manager).start('ada', {}, { data })
      : requestSessionsOf(manager).startVisitor(data);
  return (await session).token;
}

/** The error code of a refused write. */
async function codeOf(write: Promise<unknown>): Promise<string> {
  const outcome = await write.catch((error: unknown) => error);
  return outcome instanceof SessionError ? outcome.code : `no refusal: ${String(outcome)}`;
}

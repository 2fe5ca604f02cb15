import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { RedisStore, TokenManager } from 'tokensession';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy, type TcpProxy } from '../support/tcp-proxy';
import { until } from '../support/until';

jest.setTimeout(PROPERTY_TIMEOUT);

let server: RedisServer;
let proxy: TcpProxy;
beforeAll(async () => {
  server = await startRedis();
  proxy = await startProxy(server.port);
});
afterAll(async () => {
  await proxy.stop();
  await server.stop();
});

const USERS = 4;
const user = fc.nat(USERS - 1).map((n) => `user ${n}`);
/** Indexes into the sessions or signals that exist by then. */
const which = fc.nat(30);

const steps = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('log in' as const), user }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('watch' as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const), which }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('log out' as const), which, isHere: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kick' as const), user, isHere: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('refresh' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('break the subscription' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('break all connections' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
);
type Step = typeof steps extends fc.Arbitrary<infer Value> ? Value : never;

interface Session {
  user: string;
  token: string;
  hasEnded: boolean;
}

it.each([
  ['without a near cache', undefined],
  ['with one', true],
])('under any operations in any order, the signals of ended sessions abort, and no others, %s', async (_, cache) => {
  const property = fc.asyncProperty(fc.array(steps, { minLength: 5, maxLength: 60 }), async (all) => {
    const prefixes = randomPrefixes();
    const target = { host: '127.0.0.1', port: proxy.port };
    const here = new TokenManager({
      store: new RedisStore(target, { ...prefixes, ...PATIENT }),
      secret: SECRET,
      cache,
    });
    const there = new TokenManager({
      store: new RedisStore(server.url, { ...prefixes, ...PATIENT }),
      secret: SECRET,
    });
    try {
      await new World(here, there).run(all);
    } finally {
      await Promise.all([here.close(), there.close()]);
    }
  });
  await fc.assert(property, runs(40));
});

class World {
  readonly #sessions: Session[] = [];
  readonly #watched: { session: Session; signal: AbortSignal; isReleased: boolean; wasAborted: boolean }[] = [];

  constructor(
    readonly here: TokenManager,
    readonly there: TokenManager,
  ) {}

  async run(all: readonly Step[]): Promise<void> {
    for (const step of all) await this.#do(step);
    const live = this.#watched.filter(({ isReleased, session }) => !isReleased && !session.hasEnded);
    await until('the signals of ended sessions abort', () =>
      this.#watched.every(({ session, signal, isReleased }) => isReleased || !session.hasEnded || signal.aborted),
    );
    const ids = new Set(live.map(({ session }) => session.token));
    await until('the others are known to live', () => this.here.watched().length === ids.size);
    for (const { session, signal, isReleased, wasAborted } of this.#watched) {
      const aborts = isReleased ? wasAborted : session.hasEnded;
      expect({ ...session, aborted: signal.aborted }).toEqual({ ...session, aborted: aborts });
    }
  }

  async #do(step: Step): Promise<void> {
    switch (step.do) {
      case 'log in': {
        const token = await this.there.setToken(step.user);
        this.#sessions.push({ user: step.user, token, hasEnded: false });
        return;
      }
      case 'watch': {
        const session = this.#sessions[step.which % this.#sessions.length];
        if (session === undefined) return;
        this.#watched.push({ session, signal: this.here.watch(session.token), isReleased: false, wasAborted: false });
        return;
      }
      case 'release': {
        const watched = this.#watched[step.which % this.#watched.length];
        if (watched === undefined || watched.isReleased) return;
        watched.wasAborted = watched.signal.aborted;
        watched.isReleased = true;
        expect(this.here.unwatch(watched.signal)).toBe(!watched.wasAborted);
        return;
      }
      case 'log out': {
        const session = this.#sessions[step.which % this.#sessions.length];
        if (session === undefined) return;
        await this.#end(step.isHere, (manager) => manager.deleteToken(session.token), [session]);
        return;
      }
      case 'kick': {
        const kicked = this.#sessions.filter((session) => session.user === step.user);
        await this.#end(step.isHere, (manager) => manager.deleteUserToken(step.user), kicked);
        return;
      }
      case 'refresh': {
        const session = this.#sessions[step.which % this.#sessions.length];
        if (session !== undefined) await this.there.refreshToken(session.token, 1000);
        return;
      }
      case 'break the subscription':
        await server.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
        return;
      case 'break all connections':
        proxy.cut();
        return;
      case 'wait':
        await sleep(20);
    }
  }

  /** Ends sessions; retries on the other connection if the first has just been cut. */
  async #end(isHere: boolean, end: (manager: TokenManager) => Promise<unknown>, ended: Session[]): Promise<void> {
    await end(isHere ? this.here : this.there).catch(() => end(this.there));
    for (const session of ended) session.hasEnded = true;
  }
}

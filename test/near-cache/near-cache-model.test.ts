import { EventEmitter, once } from 'node:events';
import fc from 'fast-check';
import { RedisStore, type Session, type Store, TokenManager } from 'tokensession';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { until } from '../support/until';

jest.setTimeout(PROPERTY_TIMEOUT);

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const USERS = ['ada', 'bob'];

type Services = readonly TokenManager<{ info: number }>[];

/** An operation on one of the services; the numbers choose a user, an earlier session, or a value. */
interface Step {
  by: number;
  on: number;
  act: keyof typeof ACTS;
}

const ACTS = {
  login: async (service: TokenManager<{ info: number }>, tokens: string[], on: number) => {
    tokens.push(await service.setToken(USERS[on % 2] as string).catch(() => ''));
  },
  logout: (service, tokens, on) => service.deleteToken(tokens[on % tokens.length] ?? ''),
  kick: (service, _, on) => service.deleteUserToken(USERS[on % 2] as string),
  kickOthers: (service, tokens, on) =>
    service.deleteUserToken(USERS[on % 2] as string, { except: tokens[on % tokens.length] ?? null }),
  ban: (service, _, on) => service.banUser(USERS[on % 2] as string),
  unban: (service, _, on) => service.unbanUser(USERS[on % 2] as string),
  rotate: async (service, tokens, on) => {
    tokens.push((await service.rotateToken(tokens[on % tokens.length] ?? '')) ?? '');
  },
  refresh: (service, tokens, on) => service.refreshToken(tokens[on % tokens.length] ?? '', 1000 + on),
  prove: async (service, tokens, on) => {
    tokens.push((await service.reauthenticateToken(tokens[on % tokens.length] ?? ''))?.token ?? '');
  },
  use: (service, tokens, on) => service.touchToken(tokens[on % tokens.length] ?? ''),
  reload: (service, _, on) => service.refreshUser([USERS[on % 2] as string]),
  forget: (service, _, on) => service.deleteUser(USERS[on % 2] as string),
} satisfies Record<string, (service: TokenManager<{ info: number }>, tokens: string[], on: number) => Promise<unknown>>;

const steps = fc.array(
  fc.record<Step>({
    by: fc.nat(2),
    on: fc.nat(50),
    act: fc.constantFrom(...(Object.keys(ACTS) as (keyof typeof ACTS)[]), 'login', 'use', 'use'),
  }),
  { minLength: 5, maxLength: 30 },
);

/** A store that reports each announcement that its follower has received. */
function observed(store: Store): { store: Store; received: EventEmitter } {
  const received = new EventEmitter();
  const observer = new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (name !== 'follow' || target.follow === undefined) {
        return typeof member === 'function' ? member.bind(target) : member;
      }
      const follow: Store['follow'] = (follower, options) =>
        target.follow?.(
          {
            completenessChanged: (outcome) => follower.completenessChanged(outcome),
            changed: (tag) => {
              follower.changed(tag);
              received.emit(tag);
            },
          },
          options,
        ) as ReturnType<NonNullable<Store['follow']>>;
      return follow;
    },
  });
  return { store: observer, received };
}

it('under any operations of any service, another answers from its cache as Redis would once it has received the announcements', async () => {
  const property = fc.asyncProperty(steps, fc.boolean(), fc.constantFrom(0, 3600), async (all, singleMode, grace) => {
    const prefixes = randomPrefixes();
    const stores = [1, 2].map(() => observed(new RedisStore(server.url, { ...PATIENT, ...prefixes })));
    let info = 0;
    const options = {
      secret: SECRET,
      singleMode,
      rotationGrace: grace,
      getUserInfo: () => ({ info: info++ }),
      userInfoTtl: 1000,
    };
    const cached = stores.map(
      ({ store }) => new TokenManager({ ...options, store, cache: { maxAgeMs: 600_000, heartbeatMs: 5000 } }),
    );
    const plain = new TokenManager({
      ...options,
      store: new RedisStore(server.url, { ...PATIENT, ...prefixes }),
      slideEvery: 60,
    });
    const services: Services = [...cached, plain];
    try {
      for (const service of cached) {
        await service.checkToken(await service.setToken('nobody'));
        await until('the cache is up', () => service.cacheStats?.isUp);
      }
      let barriers = 0;
      const allReceived = async () => {
        // The tag of no user: once it has arrived, so have all earlier announcements.
        const barrier = `barrier-${barriers++}`.padEnd(22, '-');
        const received = stores.map(({ received }) => once(received, barrier));
        await server.admin.publish(`${prefixes.tokenKeyPrefix}:changes`, barrier);
        await Promise.all(received);
      };
      const tokens: string[] = [];
      for (const [index, { by, on, act }] of all.entries()) {
        await ACTS[act](services[by] as TokenManager<{ info: number }>, tokens, on);
        await allReceived();
        const someToken = tokens[on % tokens.length];
        if (someToken !== undefined) {
          // Before the check in Redis, which would end a session for a reuse.
          const known = comparable(await (cached[index % 2] as Services[number]).checkToken(someToken));
          await allReceived();
          expect(known).toEqual(comparable(await plain.checkToken(someToken)));
        }
        for (const token of tokens) await compare(cached, plain, token);
      }
    } finally {
      await Promise.all(services.map((service) => service.close()));
    }
  });
  await fc.assert(property, runs(40));
});

async function compare(cached: Services, plain: TokenManager<{ info: number }>, token: string): Promise<void> {
  const expected = comparable(await plain.checkToken(token));
  for (const service of cached) {
    // Checked twice: the second check reads what the first has cached.
    for (let i = 0; i < 2; i++) expect(comparable(await service.checkToken(token))).toEqual(expected);
  }
}

function comparable(session: Session<{ info: number }> | null): object | null {
  if (session === null) return null;
  const { checkedAt: _checkedAt, ttl: _ttl, ...rest } = session;
  return rest;
}

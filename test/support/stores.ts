import { randomBytes } from 'node:crypto';
import {
  type Found,
  MemoryStore,
  type NewSession,
  RedisStore,
  type ReusePolicy,
  type SessionRecord,
  type Store,
  type TokenClaims,
} from 'tokensession';
import { type RedisServer, startRedis } from './redis-server';
import { VirtualTime } from './virtual-time';

export const SECRET = 'a secret for tests, long enough to sign with';

/** For a store whose timeout is not tested: no call on a busy machine takes as long. */
export const PATIENT = { timeoutMs: 10_000 };

/** A store under test, with control over its time. */
export interface StoreFixture {
  store: Store;
  /** A second store on the same sessions, with its own client if it has clients. */
  other: Store;
  /** Lets this many milliseconds pass by the store's clock; a negative number sets it back. */
  elapse(ms: number): Promise<void>;
  close(): Promise<void>;
}

/** Each kind of store by its name, on a Redis of its own for the tests of a block. */
export function everyStore(): [string, () => Store][] {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());
  return [
    ['a MemoryStore', () => new MemoryStore()],
    ['a RedisStore', () => new RedisStore(server.url, { ...randomPrefixes(), ...PATIENT })],
  ];
}

/** Runs the same promises over every store. */
export function describeStores(promises: (open: () => Promise<StoreFixture>) => void): void {
  describe('MemoryStore', () => {
    promises(async () => {
      let now = Date.now();
      const store = new MemoryStore({ now: () => now });
      return {
        store,
        other: store,
        async elapse(ms) {
          now += ms;
        },
        close: () => store.close(),
      };
    });
  });

  describe('RedisStore', () => {
    let server: RedisServer;
    beforeAll(async () => {
      server = await startRedis();
    });
    afterAll(() => server.stop());

    promises(async () => {
      const prefixes = randomPrefixes();
      const time = new VirtualTime(server.admin, prefixes);
      const openStore = () => time.wrap(new RedisStore(server.url, { ...prefixes, ...PATIENT }));
      const [store, other] = [openStore(), openStore()];
      return {
        store,
        other,
        elapse: (ms) => time.pass(ms),
        async close() {
          await Promise.all([store.close(), other.close()]);
        },
      };
    });
  });
}

/** Prefixes that no other test uses. */
export function randomPrefixes(): { tokenKeyPrefix: string; userKeyPrefix: string } {
  const random = randomBytes(6).toString('hex');
  return { tokenKeyPrefix: `token-${random}`, userKeyPrefix: `user-${random}` };
}

/** Long compared with any delay in a test, but short to wait for. In milliseconds. */
export const HOUR = 3_600_000;

let nextSid = 0;
/** An id for a session. */
export const newSid = () => `sid-${nextSid++}`.padEnd(22, '_');

/** A login, as a store receives it. */
export function newSession(userId: string, given: Partial<NewSession> = {}): NewSession {
  return {
    userId,
    sid: newSid(),
    ttlMs: HOUR,
    absoluteTtlMs: 0,
    attributes: {},
    maxSessions: 100,
    maxOnDevice: 0,
    onLimit: 'replace',
    replaces: [],
    ...given,
  };
}

/** The default for a former token in tests: a grace longer than any test. */
export const POLICY: ReusePolicy = { graceMs: HOUR, onReuse: 'end-session' };

/** The claims of the newest used token of a session. */
export function claimsOf(tag: string, { sid, gen, mintedAt, provedAt }: SessionRecord): TokenClaims {
  return { tag, sid, gen, mintedAt, provedAt };
}

/** The claims of a token whose session never existed. */
export const unknownToken = (tag: string): TokenClaims => ({ tag, sid: newSid(), gen: 0, mintedAt: 1, provedAt: 1 });

/** Logs in, and returns the claims of the session's first token. */
export async function startSession(store: Store, tag: string, login: NewSession): Promise<TokenClaims> {
  return claimsOf(tag, (await store.create(tag, login)).session);
}

/** Caches freshly loaded user info, and returns its version. */
export async function keepUserInfo(store: Store, tag: string, text: string, ttlMs = HOUR): Promise<number> {
  const version = await store.renewUserInfo(tag);
  await store.setUserInfo(tag, text, ttlMs, version);
  return version;
}

/** The result of a method on one session when it is live. */
export const liveIn = async (found: Promise<Found>) => {
  const stored = await found;
  return stored?.session ? stored : null;
};

/** The ids of a user's live sessions, oldest login first. */
export const sidsOf = async (store: Store, tag: string) =>
  (await store.list(tag))?.sessions.map(({ sid }) => sid) ?? [];

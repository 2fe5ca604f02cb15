import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryStore, RedisStore, type Store } from 'tokensession';
import { type RedisServer, startRedis } from './redis-server';

export const SECRET = 'a secret for tests, long enough to sign with';

/** A store under test, and the means to let its time pass. */
export interface StoreFixture {
  store: Store;
  /** Another way to the same sessions: a second client, where the store has clients. */
  other: Store;
  /** Lets that many milliseconds pass by the store's clock. */
  elapse(ms: number): Promise<void>;
  close(): Promise<void>;
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
      const store = new RedisStore(server.url, prefixes);
      const other = new RedisStore(server.url, prefixes);
      return {
        store,
        other,
        // Node rounds its timers and Redis its clock, each to its own millisecond.
        elapse: (ms) => sleep(ms + 5),
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

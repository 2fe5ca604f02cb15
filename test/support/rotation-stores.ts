import { MemoryStore, RedisStore, type Store } from 'tokensession';
import type { RedisServer } from './redis-server';
import type { Timeline } from './rotation-timeline';
import { shortSeconds } from './short-seconds';
import { randomPrefixes } from './stores';

/** A store that can lose its last writes, as a failover to a replica does. */
export interface RewindableStore {
  readonly store: Store;
  /** Remembers what is stored of a user. Gives what brings that back. */
  remember(tag: string): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const EPOCH = 1_700_000_000_000;

/** A MemoryStore on the clock of a timeline. It is brought back by a new one that is given the same calls at the same moments. */
export function rewindableMemory(timeline: Timeline): RewindableStore {
  let replayedAt: number | null = null;
  const open = () => new MemoryStore({ now: () => EPOCH + Math.floor(replayedAt ?? timeline.now()) });
  let current = open();
  let calls: { at: number; verb: keyof Store; args: unknown[] }[] = [];
  const call = (verb: keyof Store, args: unknown[]): unknown =>
    (current[verb] as (...args: unknown[]) => unknown).apply(current, args);
  const store = new Proxy<Store>(current, {
    get(_target, name) {
      const verb = name as keyof Store;
      if (typeof current[verb as keyof MemoryStore] !== 'function') return undefined;
      return (...args: unknown[]) => {
        calls.push({ at: timeline.now(), verb, args });
        return call(verb, args);
      };
    },
  });
  return {
    store,
    async remember() {
      const known = calls.length;
      return async () => {
        calls = calls.slice(0, known);
        await current.close();
        current = open();
        for (const { at, verb, args } of calls) {
          replayedAt = at;
          await call(verb, args);
        }
        replayedAt = null;
      };
    },
    close: () => current.close(),
  };
}

/** A RedisStore for which a second lasts that many milliseconds. It is brought back by a copy of the user's key. */
export function rewindableRedis({ url, admin }: RedisServer, msPerSecond: number): RewindableStore {
  const prefixes = randomPrefixes();
  const store = new RedisStore(url, prefixes);
  return {
    store: shortSeconds(store, msPerSecond),
    async remember(tag) {
      const key = `${prefixes.tokenKeyPrefix}:{${tag}}`;
      const copy = await admin.dumpBuffer(key);
      const ttl = await admin.pttl(key);
      return async () => {
        await admin.restore(key, Math.max(0, ttl), copy, 'REPLACE');
      };
    },
    close: () => store.close(),
  };
}

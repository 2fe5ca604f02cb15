import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryStore, RedisStore, type Store, TokenManager } from 'tokensession';
import type { RedisServer } from '../redis-server';
import { scaleSeconds } from '../scaled-seconds';
import { PATIENT, randomPrefixes, SECRET } from '../stores';

const GRACE_SECONDS = 10;

/** A manager over a real store whose clock can be moved and whose record can be reset. */
export interface RotationWorld {
  readonly manager: TokenManager;
  readonly graceMs: number;
  now(): number;
  /** Lets time pass up to this moment, if it is in the future. */
  waitUntil(moment: number): Promise<void>;
  /** From here on the server that takes over misses the changes. */
  breakLink(token: string): Promise<void>;
  /** The other server takes over. Ends of sessions are repeated to it. */
  failOver(token: string): Promise<void>;
  close(): Promise<void>;
}

/** Two memory stores: one in use, and one that takes over. */
export function memoryRotationWorld(): RotationWorld {
  let now = 1_700_000_000_000;
  const [first, second] = [1, 2].map(() => new MemoryStore({ now: () => now })) as [MemoryStore, MemoryStore];
  const ended: { tag: string; sid: string }[] = [];
  let inCharge = first;
  let isLinked = true;
  const store = new Proxy(first as Store, {
    get: (_target, name) => {
      const member: unknown = Reflect.get(inCharge, name, inCharge);
      if (typeof member !== 'function' || name === 'follow') return member;
      return async (...args: unknown[]) => {
        const given = await member.apply(inCharge, args);
        if (given?.isEndedNow === true) ended.push({ tag: args[0] as string, sid: given.sid });
        if (isLinked) await (Reflect.get(second, name) as typeof member).apply(second, args);
        return given;
      };
    },
  });
  return {
    manager: new TokenManager({ store, secret: SECRET, rotationGrace: GRACE_SECONDS }),
    graceMs: 1000 * GRACE_SECONDS,
    now: () => now,
    async waitUntil(moment) {
      now = Math.max(now, moment);
    },
    async breakLink() {
      isLinked = false;
    },
    async failOver() {
      isLinked = false;
      inCharge = second;
      for (const { tag, sid } of ended) await second.end(tag, sid, { reason: 'revoked', message: null });
    },
    async close() {
      await Promise.all([first.close(), second.close()]);
    },
  };
}

/** One Redis, in which an existing record is reset to an earlier state. */
export function redisRotationWorld(server: RedisServer, graceMs: number): RotationWorld {
  const prefixes = randomPrefixes();
  const store = new RedisStore(server.url, { ...prefixes, ...PATIENT });
  const short = scaleSeconds(store, graceMs / GRACE_SECONDS);
  const placeOf = (token: string) => {
    const [tag, sid] = token.split('.') as [string, string];
    return [`${prefixes.tokenKeyPrefix}:{${tag}}`, sid] as const;
  };
  const readRecord = async (token: string) => {
    const record = await server.admin.hget(...placeOf(token));
    return record === null || record.startsWith('ended:') ? null : record;
  };
  let known: string | null = null;
  return {
    manager: new TokenManager({ store: short, secret: SECRET, rotationGrace: GRACE_SECONDS }),
    graceMs,
    now: Date.now,
    waitUntil: async (moment) => {
      // A timer may fire a millisecond early.
      while (Date.now() < moment) await sleep(moment - Date.now());
    },
    async breakLink(token) {
      known = await readRecord(token);
    },
    async failOver(token) {
      if (known !== null && (await readRecord(token)) !== null) await server.admin.hset(...placeOf(token), known);
    },
    close: () => store.close(),
  };
}

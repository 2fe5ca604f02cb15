import { pinsSlot } from './client-check';
import type { RedisConnection } from './connection';
import type { RedisKeys } from './schema';

/** Names tried for a key that one server of a Cluster holds: with 1,000 masters, one in a thousand. */
const MAX_KEYS = 10_000;

/** Finds for each server a key that it would hold, of no user, to see whether it takes writes: a replica doesn't, nor a master that is cut off. */
export class ServerKeys {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  /** For each server a key that it held when it was last looked at. */
  readonly #keyOn = new Map<string, string>();

  constructor(connection: RedisConnection, keys: RedisKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** Writes nothing, where only a master that takes writes accepts that. */
  async writeNothing(server: string, timeoutMs: number): Promise<void> {
    const key = this.#keyHeldBy(server);
    if (key === null) return;
    await this.#connection.sendTo(server, (redis) => redis.hdel(this.#connection.keyFor(redis, key), ''), timeoutMs);
  }

  #keyHeldBy(server: string): string | null {
    const known = this.#keyOn.get(server);
    if (known !== undefined && this.#connection.serverOf(known) === server) return known;
    const tries = pinsSlot(this.#connection.whole('')) ? 1 : MAX_KEYS;
    for (let i = 0; i < tries; i++) {
      const key = this.#keys.sessions(`health-${i}`);
      if (this.#connection.serverOf(key) !== server) continue;
      this.#keyOn.set(server, key);
      return key;
    }
    return null;
  }
}

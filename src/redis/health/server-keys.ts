import { pinsSlot } from '../client/client-check';
import type { RedisConnection } from '../connection/connection';
import type { RedisKeys } from '../schema';
import { tagInSlots } from './slot-tag';

/**
 * Finds, for each server, a key of no user that it would hold, to test whether it takes writes. A replica does not, and
 * neither does a master that is cut off.
 */
export class ServerKeys {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  /** For each server, the tag of a key that it held at the last look. */
  readonly #tagOn = new Map<string, string>();

  constructor(connection: RedisConnection, keys: RedisKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** Makes an empty write, which only a master that takes writes accepts. */
  async writeNothing(server: string, timeoutMs: number): Promise<void> {
    const tag = this.tagHeldBy(server);
    if (tag === null) return;
    const key = this.#keys.sessions(tag);
    await this.#connection.sendTo(server, (redis) => redis.hdel(this.#connection.keyFor(redis, key), ''), timeoutMs);
  }

  /** A tag of no user whose keys this server holds; `null` for none. */
  tagHeldBy(server: string): string | null {
    const isHeld = (tag: string) => this.#connection.serverOf(this.#keys.sessions(tag)) === server;
    const known = this.#tagOn.get(server);
    if (known !== undefined && isHeld(known)) return known;
    // A hash tag in the client's prefix puts all keys into one slot, whatever their own tags.
    const isPinned = pinsSlot(this.#connection.prefixed(''));
    const tag = isPinned ? 'health' : tagInSlots((slot) => this.#connection.isOwner(server, slot));
    if (tag === null || !isHeld(tag)) return null;
    this.#tagOn.set(server, tag);
    return tag;
  }
}

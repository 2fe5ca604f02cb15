import { hash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { pinsSlot } from '../client/client-check';
import { isRefusal, sessionErrorOf } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import type { RedisKeys } from '../schema';
import { PROBE } from '../scripts/probe';
import { tagInSlots } from './slot-tag';

/** Milliseconds until a server that permitted an announcement is asked again. */
const ANNOUNCING_KNOWN_MS = 60_000;

const PROBE_SHA = hash('sha1', PROBE);

/** The commands without which no request with a token is served: reading a session and sliding it. */
const NEEDED_BY_REQUESTS = ['TIME', 'HMGET', 'HDEL', 'GETEX', 'PTTL', 'PEXPIRE', 'HSET'];

/** A command that a server refuses or doesn't know. */
interface RefusedCommand {
  name: string;
  words: string;
  /** Whether no request is served without the command. */
  isFatal: boolean;
}

/** Tries on a server, with keys of no user, what this package needs: writes, commands and announcements. */
export class ServerRights {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  /** For each server, the tag of a key that it held at the last look. */
  readonly #tagOn = new Map<string, string>();
  /** When each server last permitted an announcement, by `performance.now()`. */
  readonly #announcedAt = new Map<string, number>();

  constructor(connection: RedisConnection, keys: RedisKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** Makes an empty write, which only a master accepts that takes writes: no replica, and none that is cut off. */
  async writeNothing(server: string, timeoutMs: number): Promise<void> {
    const tag = this.#tagHeldBy(server);
    if (tag === null) return;
    const key = this.#keys.sessions(tag);
    await this.#connection.sendTo(server, (redis) => redis.hdel(this.#connection.keyFor(redis, key), ''), timeoutMs);
  }

  /**
   * The commands in our scripts that the server refuses.
   *
   * @throws SessionError when it runs no script at all, or takes no writes.
   */
  async refusedCommands(server: string, timeoutMs: number): Promise<RefusedCommand[]> {
    const tag = this.#tagHeldBy(server);
    if (tag === null) return [];
    const keys = [this.#keys.sessions(tag), this.#keys.userInfo(tag)] as const;
    const ask = async (redis: Redis) => {
      const [sessions, info] = keys.map((key) => this.#connection.keyFor(redis, key)) as [string, string];
      // EVAL goes to a server that lacks the script, EVALSHA to others: either may be refused alone.
      const replies = await Promise.all([redis.eval(PROBE, 2, sessions, info), redis.evalsha(PROBE_SHA, 0)]);
      return replies[0] as string[];
    };
    return commandsIn(await this.#connection.sendTo(server, ask, timeoutMs));
  }

  /**
   * Redis's refusal of announcements; `null` when it permits them, or did so a moment ago. Scripts go on without
   * announcing.
   */
  async refusalToAnnounce(server: string, timeoutMs: number): Promise<Error | null> {
    if (performance.now() - (this.#announcedAt.get(server) ?? Number.NEGATIVE_INFINITY) < ANNOUNCING_KNOWN_MS)
      return null;
    const announce = (channel: string) =>
      this.#connection.sendTo(server, (redis) => redis.publish(this.#connection.prefixed(channel), ''), timeoutMs);
    try {
      await Promise.all(this.#keys.channels.map(announce));
      this.#announcedAt.set(server, performance.now());
      return null;
    } catch (error) {
      if (isRefusal(error)) return error as Error;
      throw error;
    }
  }

  /** Forgets what this server, or each, has permitted: another may have taken its place. */
  lost(server?: string): void {
    if (server === undefined) this.#announcedAt.clear();
    else this.#announcedAt.delete(server);
  }

  /** A tag of no user whose keys this server holds; `null` for none. */
  #tagHeldBy(server: string): string | null {
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

function commandsIn(failed: readonly string[]): RefusedCommand[] {
  const commands: RefusedCommand[] = [];
  for (let i = 0; i < failed.length; i += 2) {
    const [name, words] = failed.slice(i, i + 2) as [string, string];
    const error = new Error(words);
    if (isRefusal(error)) commands.push({ name, words, isFatal: NEEDED_BY_REQUESTS.includes(name) });
    // INFO shows a full Redis.
    else if (!/\bOOM\b/.test(words)) throw sessionErrorOf(error);
  }
  return commands;
}

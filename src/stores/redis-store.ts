import { Cluster, Redis } from 'ioredis';
import { SessionError } from '../core/errors';
import { checkOptions, kindOf } from '../core/options';
import type { NewSession, SessionRecord, Store, StoredSession, StoredUser } from '../core/store';
import type { SessionAttributes } from '../core/types';
import { checkTimeoutMs, createRedisClient, type RedisSettings } from './redis-client';
import { RedisConnection } from './redis-connection';
import { type RedisKeys, redisKeys } from './redis-keys';

export interface RedisStoreOptions {
  /** What the keys of sessions begin with. Default `session-token`. */
  tokenKeyPrefix?: string | undefined;
  /** What the keys of cached user info begin with. Default `session-user`. */
  userKeyPrefix?: string | undefined;
  /** Milliseconds until a call to Redis fails, whatever happens. Default 1000. */
  timeoutMs?: number | undefined;
}

const OPTIONS: Record<keyof RedisStoreOptions, true> = { tokenKeyPrefix: true, userKeyPrefix: true, timeoutMs: true };

/** `created:seen:ttl:cap`, in milliseconds. */
const RECORD = /^(\d+):(\d+):(\d+):(\d+)$/;

/** The reply of `check` and `touch`: `created:seen:ttl:cap:now`, the attributes, the cached info and the user id, a line each. */
const SESSION = /^(\d+):(\d+):(\d+):(\d+):(\d+)\n([^\n]*)\n([^\n]*)\n(.+)$/s;

type Reply = string | number | null;

/** Keeps sessions in Redis: one hash a user, one script a verb. The README shows what is in Redis. */
export class RedisStore implements Store {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;

  /**
   * @param redis a URL or connection settings (the store opens the client and closes it), or an ioredis client that stays yours.
   * @throws TypeError or RangeError naming what is missing, unknown or of the wrong kind.
   */
  constructor(redis: string | RedisSettings | Redis | Cluster | undefined, options?: RedisStoreOptions) {
    const given = checkOptions('RedisStore', options, OPTIONS);
    const { tokenKeyPrefix = 'session-token', userKeyPrefix = 'session-user' } = given;
    const timeoutMs = checkTimeoutMs(given.timeoutMs);
    this.#keys = redisKeys(tokenKeyPrefix, userKeyPrefix);
    if (redis === undefined) {
      throw new TypeError(
        'RedisStore needs a URL, settings or an ioredis client, got undefined (an environment variable not set?)',
      );
    }
    this.#connection = isClient(redis)
      ? new RedisConnection(redis, { owned: false, timeoutMs })
      : new RedisConnection(createRedisClient(redis, { timeoutMs }), { owned: true, timeoutMs });
  }

  async create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number }> {
    const { userId, sid, ttlMs, absoluteTtlMs, attributes, maxSessions, replaces } = session;
    const json = Object.keys(attributes).length === 0 ? '' : JSON.stringify(attributes);
    const args = [userId, sid, ttlMs, absoluteTtlMs, json, maxSessions, ...replaces];
    const [record, now] = await this.#connection.run<[string, Reply]>('create', [this.#keys.sessions(tag)], args);
    return { session: parseRecord(sid, record, json), now: Number(now) };
  }

  async check(tag: string, sid: string): Promise<StoredSession | null> {
    return storedSession(sid, await this.#connection.run('check', this.#bothKeys(tag), [sid]));
  }

  async touch(tag: string, sid: string, slideEveryMs: number): Promise<StoredSession | null> {
    return storedSession(sid, await this.#connection.run('touch', this.#bothKeys(tag), [sid, slideEveryMs]));
  }

  async refresh(tag: string, sid: string, ttlMs: number | null): Promise<boolean> {
    return 1 === Number(await this.#connection.run('refresh', [this.#keys.sessions(tag)], [sid, ttlMs ?? 0]));
  }

  async end(tag: string, sid: string): Promise<boolean> {
    return 1 === Number(await this.#connection.run('end', [this.#keys.sessions(tag)], [sid]));
  }

  async endAll(tag: string, options: { except: string | null; forgetUserInfo: boolean }): Promise<number> {
    const { except, forgetUserInfo } = options;
    return Number(await this.#connection.run('endAll', this.#bothKeys(tag), [except ?? '', forgetUserInfo ? 1 : 0]));
  }

  async list(tag: string): Promise<StoredUser | null> {
    const reply = await this.#connection.run<[string, ...Reply[]] | null>('list', [this.#keys.sessions(tag)], []);
    if (reply === null) return null;
    const [userId, now, ...columns] = reply;
    const sessions: SessionRecord[] = [];
    for (let i = 0; i < columns.length; i += 3) {
      const [sid, record, attributes] = columns.slice(i, i + 3) as [string, string, string | null];
      sessions.push(parseRecord(sid, record, attributes));
    }
    return { userId, now: Number(now), sessions: sessions.sort((a, b) => a.createdAt - b.createdAt) };
  }

  async setUserInfo(tag: string, userInfo: string, ttlMs: number): Promise<void> {
    await this.#connection.send((client) => client.set(this.#keys.userInfo(tag), userInfo, 'PX', ttlMs));
  }

  async deleteUserInfo(tag: string): Promise<boolean> {
    return 1 === Number(await this.#connection.send((client) => client.unlink(this.#keys.userInfo(tag))));
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  #bothKeys(tag: string): [string, string] {
    return [this.#keys.sessions(tag), this.#keys.userInfo(tag)];
  }
}

/** By what it can do, too: an application may have an ioredis of its own, of another version than ours. */
function isClient(redis: unknown): redis is Redis | Cluster {
  if (redis instanceof Redis || redis instanceof Cluster) return true;
  if (typeof redis !== 'object' || redis === null || !('defineCommand' in redis)) return false;
  if (!('status' in redis)) throw new TypeError(`RedisStore needs an ioredis client, got ${kindOf(redis)}`);
  return true;
}

function storedSession(sid: string, reply: string | null): StoredSession | null {
  if (reply === null) return null;
  const [, created, seen, ttl, cap, now, attributes, userInfo, userId] = SESSION.exec(reply) ?? [];
  if (attributes === undefined || userId === undefined) throw notARecord();
  const session = recordOf(sid, [created, seen, ttl, cap], attributes);
  return { userId, session, now: Number(now), userInfo: userInfo || null };
}

function parseRecord(sid: string, record: string, attributes: string | null): SessionRecord {
  const fields = RECORD.exec(record);
  if (fields === null) throw notARecord();
  return recordOf(sid, fields.slice(1), attributes);
}

function recordOf(sid: string, fields: readonly (string | undefined)[], attributes: string | null): SessionRecord {
  return {
    sid,
    createdAt: Number(fields[0]),
    seenAt: Number(fields[1]),
    ttlMs: Number(fields[2]),
    capAt: Number(fields[3]),
    attributes: attributesOf(attributes),
  };
}

function notARecord(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', 'Redis gave a session record that is not one');
}

function attributesOf(json: string | null): SessionAttributes {
  if (json === null || json === '') return {};
  let attributes: unknown;
  try {
    attributes = JSON.parse(json);
  } catch (cause) {
    throw new SessionError('ERR_STORE_CORRUPT', "this session's attributes in Redis are no JSON", { cause });
  }
  if (typeof attributes !== 'object' || attributes === null) throw notARecord();
  return attributes;
}

import { Cluster, Redis } from 'ioredis';
import { SessionError } from '../core/errors';
import { checkOptions, kindOf } from '../core/options';
import type { NewSession, SessionRecord, Store, StoredSession, StoredUser, StoreHealth } from '../core/store';
import type { SessionAttributes } from '../core/types';
import { checkTimeoutMs, createRedisClient } from './redis/client';
import { warnOfClient } from './redis/client-check';
import { RedisConnection } from './redis/connection';
import { RedisHealth } from './redis/health';
import { type RedisKeys, redisKeys } from './redis/keys';
import { checkDurability, type Durability, ReplicaAcknowledgement } from './redis/replica-acknowledgement';
import { type Revocation, Revocations, revocationArguments } from './redis/revocations';
import { ServerClock } from './redis/server-clock';
import type { RedisTarget } from './redis/settings';

export interface RedisStoreOptions {
  /** What the keys of sessions begin with. Default `session-token`. */
  tokenKeyPrefix?: string | undefined;
  /** What the keys of cached user info begin with. Default `session-user`. */
  userKeyPrefix?: string | undefined;
  /** Milliseconds until a call to Redis fails, whatever happens. Default 1000. */
  timeoutMs?: number | undefined;
  /**
   * Replicas that must have a logout, kick or ban before it counts as done: `{ replicas, timeoutMs }`. When they don't, the call rejects with
   * `ERR_NOT_REPLICATED`, and the sessions have ended all the same. Default: none, a master that dies right after it has
   * answered may take a revocation with it, until the process that asked for it has repeated it to the new master.
   */
  durability?: Durability | undefined;
}

const OPTIONS: Record<keyof RedisStoreOptions, true> = {
  tokenKeyPrefix: true,
  userKeyPrefix: true,
  timeoutMs: true,
  durability: true,
};

/** `created:seen:ttl:cap`, in milliseconds. */
const RECORD = /^(\d+):(\d+):(\d+):(\d+)$/;

/** The reply of `check` and `touch`: `created:seen:ttl:cap:now`, the attributes, the cached info and the user id, a line each. */
const SESSION = /^(\d+):(\d+):(\d+):(\d+):(\d+)\n([^\n]*)\n([^\n]*)\n(.+)$/s;

/** A login that Redis refuses as too late is tried again with the time that the refusal tells. */
const MAX_ATTEMPTS = 3;

/** Milliseconds before its deadline at which a login is too late already: Node's timers and Redis's clock are rounded, each its way. */
const MARGIN_MS = 5;

type Reply = string | number | null;

interface Call {
  key: string;
  /** Where it is sent. */
  server: string;
  /** When it must have settled, by `performance.now()`. */
  deadline: number;
}

/** Keeps sessions in Redis: one hash a user, one script a verb. The README shows what is in Redis. */
export class RedisStore implements Store {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  readonly #clock = new ServerClock();
  readonly #revocations: Revocations;
  readonly #replicas: ReplicaAcknowledgement | null;
  readonly #health: RedisHealth;

  /**
   * @param redis a URL or connection settings (the store opens the client and closes it), or an ioredis client that stays yours.
   * @throws TypeError or RangeError naming what is missing, unknown or of the wrong kind.
   */
  constructor(redis: RedisTarget | Redis | Cluster | undefined, options?: RedisStoreOptions) {
    const given = checkOptions('RedisStore', options, OPTIONS);
    const { tokenKeyPrefix = 'session-token', userKeyPrefix = 'session-user' } = given;
    const timeoutMs = checkTimeoutMs(given.timeoutMs);
    const durability = given.durability === undefined ? null : checkDurability(given.durability, timeoutMs);
    this.#keys = redisKeys(tokenKeyPrefix, userKeyPrefix);
    if (redis === undefined) {
      throw new TypeError(
        'RedisStore needs a URL, settings or an ioredis client, got undefined (an environment variable not set?)',
      );
    }
    const owned = !isClient(redis);
    if (!owned) warnOfClient(redis);
    const client = owned ? createRedisClient(redis, { timeoutMs }) : redis;
    this.#connection = new RedisConnection(client, { owned, timeoutMs });
    this.#revocations = new Revocations({
      serverOf: (key) => this.#connection.serverOf(key),
      revoke: (key, revocation) => this.#connection.runAside('revoke', key, revocationArguments(revocation)),
    });
    this.#connection.watch({
      lost: (server) => {
        this.#clock.forget(server);
        this.#revocations.lost(server);
        this.#replicas?.lost(server);
      },
      changed: () => this.#revocations.replay(),
    });
    this.#replicas = durability === null ? null : new ReplicaAcknowledgement(client, this.#connection, durability);
    this.#health = new RedisHealth(this.#connection, this.#keys, durability?.replicas ?? 0);
  }

  async create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number }> {
    const { userId, sid, ttlMs, absoluteTtlMs, attributes, maxSessions, replaces } = session;
    const json = Object.keys(attributes).length === 0 ? '' : JSON.stringify(attributes);
    const call = this.#callFor(tag);
    const margin = Math.min(MARGIN_MS, this.#connection.timeoutMs / 10);
    let reply: [now: Reply, record?: string, ...ended: string[]] = [0];
    // Too late by a clock that we don't know yet, or that is another one since: then the refusal tells us.
    for (let tries = 0; reply[1] === undefined && tries < MAX_ATTEMPTS; tries++) {
      call.server = this.#connection.serverOf(call.key);
      const latest = this.#clock.at(call.server, call.deadline - margin);
      const args = [userId, sid, ttlMs, absoluteTtlMs, json, maxSessions, latest, ...replaces];
      const left = Math.max(1, call.deadline - performance.now());
      reply = await this.#connection.run('create', [call.key], args, left);
      this.#clock.learn(this.#connection.serverOf(call.key), Number(reply[0]));
    }
    const [now, record, ...ended] = reply;
    if (record === undefined) throw new SessionError('ERR_STORE_TIMEOUT', 'Redis came to this login too late');
    if (ended.length > 0) this.#remember(call, { sids: ended, before: 0, except: '' });
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
    const call = this.#callFor(tag);
    const ended = await this.#connection.run<Reply>('end', [call.key], [sid]);
    await this.#secure(call, { sids: [sid], before: 0, except: '' });
    return Number(ended) === 1;
  }

  async endAll(tag: string, options: { except: string | null; forgetUserInfo: boolean }): Promise<number> {
    const call = this.#callFor(tag);
    const except = options.except ?? '';
    const keys = options.forgetUserInfo ? this.#bothKeys(tag) : ([call.key] as [string]);
    const [ended, now, ...sids] = await this.#connection.run<[Reply, Reply, ...string[]]>('endAll', keys, [except]);
    await this.#secure(call, { sids, before: Number(now), except });
    return Number(ended);
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
    const key = this.#keys.userInfo(tag);
    await this.#connection.send(key, (client) => client.set(key, userInfo, 'PX', ttlMs));
  }

  async deleteUserInfo(tag: string): Promise<boolean> {
    const key = this.#keys.userInfo(tag);
    return 1 === Number(await this.#connection.send(key, (client) => client.unlink(key)));
  }

  health(): Promise<StoreHealth> {
    return this.#health.look();
  }

  async close(): Promise<void> {
    await this.#connection.close();
    this.#revocations.close();
    this.#replicas?.close();
  }

  /** A call that begins now, on the sessions of a user. */
  #callFor(tag: string): Call {
    const key = this.#keys.sessions(tag);
    return { key, server: this.#connection.serverOf(key), deadline: performance.now() + this.#connection.timeoutMs };
  }

  /** Sees to it that what Redis has ended stays ended: it is remembered, and confirmed by replicas where that was asked for. */
  async #secure(call: Call, revocation: Revocation): Promise<void> {
    this.#remember(call, revocation);
    await this.#replicas?.confirm(call.key, revocation, call.deadline);
  }

  /** That the server which the call was sent to has answered it is only known while it still holds the key. */
  #remember({ key, server }: Call, revocation: Revocation): void {
    this.#revocations.record(key, revocation, this.#connection.serverOf(key) === server ? server : null);
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

import { Cluster, Redis } from 'ioredis';
import { withOutcome } from '../errors/session-error';
import { checkOptions, kindOf } from '../errors/arguments';
import type {
  ChangeFeed,
  ChangeFollower,
  EndedFor,
  Found,
  LookOptions,
  NewSession,
  Rotation,
  SessionRecord,
  Store,
  StoredBan,
  StoredUser,
  StoreHealth,
} from '../store/store';
import { RedisChangeFeed } from './change-feed';
import { checkTimeoutMs, createRedisClient } from './client';
import { warnOfClient } from './client-check';
import { RedisConnection } from './connection';
import { RedisHealth } from './health';
import { type RedisKeys, redisKeys } from './schema';
import { type Call, PunctualScripts } from './deadline';
import { checkDurability, type Durability, ReplicaAcknowledgement } from './replica-acknowledgement';
import {
  FOUND_TIMING,
  type FoundReply,
  idsIn,
  isTheft,
  type ListReply,
  parseBan,
  parseFound,
  parseList,
  parseRecord,
  TUPLE_TIMING,
  type TupleReply,
} from './replies';
import { type Revocation, Revocations, revocationArguments, revocationOf, rotationAct } from './revocations';
import { Rotations } from './rotations';
import type { ScriptName } from './scripts/index';
import { ServerKeys } from './server-keys';
import type { RedisTarget } from './settings';

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

type Reply = string | number;

/** Keeps sessions in Redis: one hash a user, one script a verb, and a second where a token was reused. The README shows what is in Redis. */
export class RedisStore implements Store {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  readonly #punctual: PunctualScripts;
  readonly #rotations: Rotations;
  readonly #revocations: Revocations;
  readonly #replicas: ReplicaAcknowledgement | null;
  readonly #serverKeys: ServerKeys;
  readonly #health: RedisHealth;
  readonly #feeds = new Set<RedisChangeFeed>();

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
    this.#punctual = new PunctualScripts(this.#connection);
    this.#rotations = new Rotations(this.#connection, this.#punctual);
    this.#revocations = new Revocations({
      serverOf: (key) => this.#connection.serverOf(key),
      revoke: (key, revocation) => this.#connection.runAside('revoke', key, revocationArguments(revocation)),
    });
    this.#connection.watch({
      lost: (server) => {
        this.#punctual.lost(server);
        this.#revocations.lost(server);
        this.#replicas?.lost(server);
        for (const feed of this.#feeds) feed.lost(server);
      },
      changed: (haveSlotsMoved) => {
        this.#revocations.replay();
        for (const feed of this.#feeds) feed.serversChanged(haveSlotsMoved);
      },
    });
    this.#replicas = durability === null ? null : new ReplicaAcknowledgement(this.#connection, durability);
    this.#serverKeys = new ServerKeys(this.#connection, this.#keys);
    this.#health = new RedisHealth(this.#connection, this.#keys, this.#serverKeys, durability?.replicas ?? 0);
  }

  async create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number; ended: string[] }> {
    const { userId, sid, ttlMs, absoluteTtlMs, attributes } = session;
    const { maxSessions, maxOnDevice, onLimit, replaces } = session;
    const json = Object.keys(attributes).length === 0 ? '' : JSON.stringify(attributes);
    const limits = [maxSessions, maxOnDevice, attributes.device ?? '', onLimit];
    const call = this.#callFor(tag);
    const [now, record = '', ended = '', former = ''] = await this.#punctual.run<TupleReply>(call, {
      name: 'create',
      args: (latest) => [userId, sid, ttlMs, absoluteTtlMs, json, latest, ...limits, ...replaces],
      timing: TUPLE_TIMING,
    });
    if (ended !== '' || former !== '') this.#remember(call, revocationOf(...idsIn(ended), ...idsIn(former)));
    return { session: parseRecord(sid, record, json), now: Number(now), ended: idsIn(ended) };
  }

  check(tag: string, sid: string, options?: LookOptions): Promise<Found> {
    return this.#find('check', tag, sid, [], options);
  }

  touch(tag: string, sid: string, slideEveryMs: number, options?: LookOptions): Promise<Found> {
    return this.#find('touch', tag, sid, [slideEveryMs], options);
  }

  refresh(tag: string, sid: string, ttlMs: number | null): Promise<Found> {
    return this.#find('refresh', tag, sid, [ttlMs ?? 0]);
  }

  async reauthenticate(tag: string, sid: string): Promise<Found> {
    const reply = await this.#punctual.run<FoundReply>(this.#callFor(tag), {
      name: 'reauthenticate',
      args: (latest) => [sid, latest],
      timing: FOUND_TIMING,
    });
    return this.#found(tag, sid, reply);
  }

  async rotate(tag: string, sid: string, rotation: Rotation): Promise<Found> {
    const call = this.#callFor(tag);
    const found = await this.#found(tag, sid, await this.#rotations.rotate(call, sid, rotation));
    if (found === null || found.session === null || found.session.sid !== rotation.newSid) return found;
    this.#remember(call, revocationOf(rotationAct(sid, rotation, found.now)));
    return found;
  }

  async unrotate(tag: string, sid: string, newSid: string): Promise<boolean> {
    const key = this.#keys.sessions(tag);
    const isDone = 1 === Number(await this.#connection.run('unrotate', [key], [sid, newSid]));
    if (isDone) this.#revocations.forgetRotation(key, sid, newSid);
    return isDone;
  }

  async end(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string; sid: string } | null> {
    const call = this.#callFor(tag);
    const args = [sid, why?.reason ?? '', why?.message ?? ''];
    const reply = await this.#connection.run<[userId: string, sid: string, ...former: string[]] | null>(
      'end',
      [call.key],
      args,
    );
    const ended = reply === null ? null : { userId: reply[0], sid: reply[1] };
    return this.#secure(call, revocationOf(sid, ...(reply?.slice(1) ?? [])), ended);
  }

  async endAll(
    tag: string,
    options: { except: string | null; forgetUserInfo: boolean; message: string | null },
  ): Promise<string[]> {
    const call = this.#callFor(tag);
    const except = options.except ?? '';
    const keys = options.forgetUserInfo ? this.#bothKeys(tag) : ([call.key] as [string]);
    const [now, ended, noOlder] = await this.#connection.run<[Reply, string, string]>('endAll', keys, [
      except,
      options.message ?? '',
    ]);
    return this.#secure(call, { acts: idsIn(noOlder), before: Number(now), except }, idsIn(ended));
  }

  async ban(
    tag: string,
    { userId, durationMs, reason }: { userId: string; durationMs: number | null; reason: string | null },
  ): Promise<{ ban: StoredBan; ended: string[] }> {
    const call = this.#callFor(tag);
    const [now, text = '', ended = '', noOlder = ''] = await this.#punctual.run<TupleReply>(call, {
      name: 'ban',
      args: (latest) => [userId, durationMs ?? 0, reason ?? '', latest],
      timing: TUPLE_TIMING,
    });
    const revocation = { acts: idsIn(noOlder), before: Number(now), except: '', ban: { userId, text } };
    return this.#secure(call, revocation, { ban: parseBan(userId, text), ended: idsIn(ended) });
  }

  async unban(tag: string): Promise<boolean> {
    const call = this.#callFor(tag);
    const [, userId = '', text = ''] = await this.#punctual.run<TupleReply>(call, {
      name: 'unban',
      args: (latest) => [latest],
      timing: TUPLE_TIMING,
    });
    if (userId === '') return false;
    this.#remember(call, { ...revocationOf(), ban: { userId, text } });
    return true;
  }

  async getBan(tag: string): Promise<StoredBan | null> {
    const reply = await this.#connection.run<[userId: string, ban: string] | null>(
      'getBan',
      [this.#keys.sessions(tag)],
      [],
    );
    return reply === null ? null : parseBan(...reply);
  }

  async list(tag: string): Promise<StoredUser | null> {
    const reply = await this.#connection.run<ListReply>('list', [this.#keys.sessions(tag)], []);
    return parseList(reply);
  }

  async setUserInfo(tag: string, userInfo: string, ttlMs: number): Promise<void> {
    await this.#connection.run('setUserInfo', [this.#keys.userInfo(tag)], [userInfo, ttlMs]);
  }

  async deleteUserInfo(tag: string): Promise<boolean> {
    return 1 === Number(await this.#connection.run('deleteUserInfo', [this.#keys.userInfo(tag)], []));
  }

  follow(follower: ChangeFollower, { heartbeatMs }: { heartbeatMs: number }): ChangeFeed {
    const keys = { keys: this.#keys, serverKeys: this.#serverKeys };
    const onClose = () => this.#feeds.delete(feed);
    const feed = new RedisChangeFeed(this.#connection, keys, follower, { heartbeatMs, onClose });
    this.#feeds.add(feed);
    return feed;
  }

  health(): Promise<StoreHealth> {
    return this.#health.look();
  }

  async close(): Promise<void> {
    for (const feed of this.#feeds) feed.close();
    await this.#connection.close();
    this.#rotations.close();
    this.#revocations.close();
    this.#replicas?.close();
  }

  /** A call that begins now, on the sessions of a user. */
  #callFor(tag: string): Call {
    const key = this.#keys.sessions(tag);
    return { key, server: this.#connection.serverOf(key), deadline: performance.now() + this.#connection.timeoutMs };
  }

  async #find(
    name: ScriptName,
    tag: string,
    sid: string,
    args: (string | number)[],
    options?: LookOptions,
  ): Promise<Found> {
    const reply = await this.#connection.run<FoundReply>(name, this.#bothKeys(tag), [sid, ...args]);
    return isTheft(reply) ? this.#found(tag, sid, reply, options) : parseFound(sid, reply);
  }

  /** What a script has found; a session whose token was stolen has ended by then. */
  async #found(tag: string, sid: string, reply: FoundReply, options: LookOptions = {}): Promise<Found> {
    const found = parseFound(sid, reply);
    if (found === null || found.session !== null || !isTheft(reply) || options.forgiving === true) return found;
    const call = this.#callFor(tag);
    const ids = await this.#rotations.endReused(call, sid);
    if (ids.length > 0) this.#remember(call, revocationOf(...ids));
    // Of two uses at once, one ends the session, and is news.
    return { ...found, isDetected: ids.length > 0, isEndedNow: ids.length > 0 };
  }

  /** Sees to it that what Redis has ended stays ended: it is remembered, and confirmed by replicas where that was asked for. */
  async #secure<Outcome>(call: Call, revocation: Revocation, outcome: Outcome): Promise<Outcome> {
    this.#remember(call, revocation);
    await this.#replicas?.confirm(call.key, revocation, call.deadline).catch((error: unknown) => {
      throw withOutcome(error, outcome);
    });
    return outcome;
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

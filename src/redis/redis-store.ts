import type { ConnectionOptions } from 'node:tls';
import { Cluster, Redis } from 'ioredis';
import { kindOf, optional, type Readers, readOptions } from '../errors/arguments';
import { SessionError, withKey, withOutcome } from '../errors/session-error';
import type {
  ChangeFeed,
  ChangeFollower,
  DataChange,
  DataLimits,
  DataWritten,
  EndAllOptions,
  EndedFor,
  Found,
  FoundData,
  HealthReport,
  NewSession,
  ReusePolicy,
  SessionRecord,
  SessionStates,
  Store,
  StoredBan,
  StoredUser,
} from '../store/store';
import type { TokenClaims } from '../token/token';
import { RedisChangeFeed } from './changes/change-feed';
import { CLIENT_READERS, createRedisClient } from './client/client';
import { checkClient } from './client/client-check';
import { refuseUnknownClient } from './client/ioredis-members';
import { type RedisTarget, refuseTlsOption } from './client/settings';
import { RedisConnection } from './connection/connection';
import { DeadlineScripts, extendIfReadLate, type UserCall } from './connection/deadline-scripts';
import { RedisHealth } from './health/health';
import { ServerRights } from './health/server-rights';
import {
  type Asked,
  endsIn,
  type FoundReply,
  idsIn,
  integerIn,
  isReuse,
  type ListReply,
  listIn,
  parseBan,
  parseEntries,
  parseFound,
  parseFoundData,
  parseFoundWithData,
  parseList,
  parseRecord,
  parseStates,
  type StatesReply,
  type TupleReply,
  tupleIn,
} from './replies';
import { type Durability, ReplicaAcknowledgement, readDurability } from './revocations/replica-acknowledgement';
import { type Revocation, Revocations, revocationArguments } from './revocations/revocations';
import { checkPrefix, type RedisKeys, redisKeys } from './schema';
import type { ScriptName } from './scripts/index';

/** Options of a {@link RedisStore}. */
export interface RedisStoreOptions {
  /** The prefix of the keys of sessions. Default `session-token`. */
  tokenKeyPrefix?: string | undefined;
  /** The prefix of the keys of cached user info. Default `session-user`. */
  userKeyPrefix?: string | undefined;
  /** Milliseconds until a call to Redis fails, in every case. Default 1000. Range 1 to 600,000. */
  timeoutMs?: number | undefined;
  /**
   * Options of Node's `tls.connect`, for a `rediss://` URL: `{ ca, cert, key, servername }`. Default: Node's defaults.
   * Settings and clients have a `tls` of their own.
   */
  tls?: ConnectionOptions | undefined;
  /**
   * Replicas that must have a logout, kick or ban, and a session that `ExpressSessionStore` moves:
   * `{ replicas, timeoutMs }`. Without them the call rejects with `ERR_NOT_REPLICATED`, although the sessions have
   * ended. Default: none. A master that dies right after its answer may then lose an end, until the process repeats it
   * to the new master.
   */
  durability?: Durability | undefined;
}

const READERS = {
  tokenKeyPrefix: optional(checkPrefix, 'session-token'),
  userKeyPrefix: optional(checkPrefix, 'session-user'),
  ...CLIENT_READERS,
  // Its range depends on `timeoutMs`.
  durability: (_name, value) => value as Durability | undefined,
} satisfies Readers<RedisStoreOptions>;

/** Keeps sessions in Redis: one hash a user, one script a verb. `docs/redis.md` shows the keys. */
export class RedisStore implements Store {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  readonly #deadlines: DeadlineScripts;
  readonly #revocations: Revocations;
  readonly #replicas: ReplicaAcknowledgement | null;
  readonly #rights: ServerRights;
  readonly #health: RedisHealth;
  readonly #feeds = new Set<RedisChangeFeed>();

  /**
   * @param redis a URL or settings: the store opens the client and closes it. Or an ioredis client, which stays yours.
   * @throws TypeError or RangeError naming the argument that is missing, unknown or of the wrong kind.
   */
  constructor(redis: RedisTarget | Redis | Cluster | undefined, options?: RedisStoreOptions) {
    const { tokenKeyPrefix, userKeyPrefix, timeoutMs, tls, ...given } = readOptions('RedisStore', options, READERS);
    const durability = given.durability === undefined ? null : readDurability(given.durability, timeoutMs);
    this.#keys = redisKeys(tokenKeyPrefix, userKeyPrefix);
    if (redis === undefined) {
      throw new TypeError(
        'RedisStore needs a URL, settings or an ioredis client, got undefined (an environment variable not set?)',
      );
    }
    const owned = !isClient(redis);
    if (!owned) {
      refuseTlsOption(tls);
      refuseUnknownClient(redis);
      checkClient(redis);
    }
    const client = owned ? createRedisClient(redis, { timeoutMs, tls }) : redis;
    this.#connection = new RedisConnection(client, { markOf: this.#keys.userInfo, owned, timeoutMs });
    this.#deadlines = new DeadlineScripts(this.#connection);
    this.#revocations = new Revocations({
      serverOf: (key) => this.#connection.serverOf(key),
      revoke: (key, revocation) => this.#connection.runAside('revoke', key, revocationArguments(revocation)),
    });
    this.#connection.watch({
      lost: (server) => {
        const parts = [this.#deadlines, this.#revocations, this.#replicas, this.#rights, ...this.#feeds];
        for (const part of parts) part?.lost(server);
      },
      changed: (haveSlotsMoved) => {
        this.#revocations.replay();
        for (const feed of this.#feeds) feed.serversChanged(haveSlotsMoved);
      },
      databaseChanged: () => {
        // Endings of one database must not end sessions of another.
        this.#revocations.forget();
        this.#replicas?.lost();
        for (const feed of this.#feeds) {
          feed.lost();
          feed.serversChanged(false);
        }
      },
    });
    this.#replicas = durability === null ? null : new ReplicaAcknowledgement(this.#connection, durability);
    this.#rights = new ServerRights(this.#connection, this.#keys);
    this.#health = new RedisHealth(this.#connection, this.#rights, {
      replicas: durability?.replicas ?? 0,
      otherReasons: () => [...this.#feeds].flatMap((feed) => feed.reasons),
    });
  }

  async create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number; ended: string[] }> {
    const { userId, sid, ttlMs, absoluteTtlMs, attributes, provedAt = '', data = [] } = session;
    const { sid: inheritedFrom, keys: inherited } = session.inherits ?? { sid: '', keys: NO_ARGUMENTS };
    const { maxSessions, maxOnDevice, onLimit, replaces } = session;
    const json = Object.keys(attributes).length === 0 ? '' : JSON.stringify(attributes);
    const call = this.#callFor(tag);
    const [now, record = '', ended = '', stored = json] = await this.#deadlines.run(call, 'create', (latest) => [
      ...[userId, sid, ttlMs, absoluteTtlMs, json, latest],
      ...[maxSessions, maxOnDevice, attributes.device ?? '', onLimit, replaces.join(), provedAt],
      ...[inheritedFrom, inherited.length, ...inherited],
      ...[...data].flat(),
    ]);
    const created = { session: parseRecord(sid, record, stored), now: Number(now), ended: idsIn(ended) };
    const { createdAt: moment } = created.session;
    if (ended !== '') this.#remember(call, { ends: created.ended.map((sid) => ({ sid, moment })) });
    if (session.provedAt !== undefined) await this.#secureMove(call, created);
    return created;
  }

  check(tag: string, claims: TokenClaims, policy: ReusePolicy): Promise<Found> {
    return this.#ask('check', this.#bothKeys(tag), { claims, policy }, [claims.sid], parseFound);
  }

  touch(tag: string, claims: TokenClaims, policy: ReusePolicy, slideEveryMs: number): Promise<Found> {
    const asked = { claims, policy };
    return this.#ask('touch', this.#bothKeys(tag), asked, [...judgedBy(asked), slideEveryMs], parseFound);
  }

  touchWithData(tag: string, claims: TokenClaims, policy: ReusePolicy, slideEveryMs: number) {
    const asked = { claims, policy };
    const args = [...judgedBy(asked), slideEveryMs];
    return this.#ask('touchWithData', this.#bothKeys(tag), asked, args, parseFoundWithData);
  }

  refresh(tag: string, claims: TokenClaims, policy: ReusePolicy, ttlMs: number | null): Promise<Found> {
    const asked = { claims, policy };
    return this.#ask('refresh', this.#bothKeys(tag), asked, [...judgedBy(asked), ttlMs ?? 0], parseFound);
  }

  end(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string } | null> {
    return this.#end('end', tag, sid, why, (userId) => ({ userId }));
  }

  endWithData(tag: string, sid: string, why: EndedFor | null) {
    const parse = (userId: string, entries: string[]) => ({ userId, data: parseEntries(entries) });
    return this.#end('endWithData', tag, sid, why, parse);
  }

  async endAll(tag: string, { except, message, goneAtVersion }: EndAllOptions): Promise<string[]> {
    const call = this.#callFor(tag);
    const keys = goneAtVersion === null ? ([call.key] as [string]) : this.#bothKeys(tag);
    const args = [except ?? '', message ?? '', goneAtVersion ?? ''];
    const [now, ended, notBefore = '', kept = ''] = await this.#runEnding(call, 'endAll', keys, args);
    if (ended === undefined) {
      const message = "a Cluster is moving this user's slot, and has the sessions on one node and the info on another";
      throw new SessionError('ERR_STORE_UNAVAILABLE', message);
    }
    if (goneAtVersion !== null && ended === '') return [];
    return this.#secure(call, { ends: endsIn(notBefore), before: Number(now), except: kept }, idsIn(ended));
  }

  async ban(
    tag: string,
    { userId, durationMs, reason }: { userId: string; durationMs: number | null; reason: string | null },
  ): Promise<{ ban: StoredBan; ended: string[] }> {
    const call = this.#callFor(tag);
    const [now, text = '', ended = '', notBefore = ''] = await this.#deadlines.run(call, 'ban', (latest) => {
      return [userId, durationMs ?? 0, reason ?? '', latest];
    });
    const revocation = { ends: endsIn(notBefore), before: Number(now), ban: { userId, text } };
    return this.#secure(call, revocation, { ban: parseBan(userId, text), ended: idsIn(ended) });
  }

  async unban(tag: string, userId: string): Promise<boolean> {
    const call = this.#callFor(tag);
    const [, text = '', before] = await this.#deadlines.run(call, 'unban', (latest) => [userId, latest]);
    // Refuses a reply of another script.
    parseBan(userId, text);
    this.#remember(call, { ban: { userId, text } });
    return before === 'banned';
  }

  async getBan(tag: string): Promise<StoredBan | null> {
    const key = this.#keys.sessions(tag);
    const reply = await this.#connection.run<[userId: string, ban: string] | null>('getBan', [key], []);
    return reply === null ? null : parseBan(...listIn(reply));
  }

  async list(tag: string): Promise<StoredUser | null> {
    return parseList(await this.#connection.run<ListReply>('list', [this.#keys.sessions(tag)], []));
  }

  async states(tag: string, sids: readonly string[]): Promise<SessionStates> {
    const key = this.#keys.sessions(tag);
    try {
      return parseStates(await this.#connection.run<StatesReply>('states', [key], sids));
    } catch (error) {
      throw withKey(error, this.#connection.prefixed(key));
    }
  }

  readData(tag: string, claims: TokenClaims, policy: ReusePolicy, keys: readonly string[] | null) {
    // No entry has an empty key, so an empty key stands for no keys. Without arguments, the script reads all.
    const wanted = keys?.length === 0 ? [''] : (keys ?? NO_ARGUMENTS);
    return this.#onData('readData', tag, claims, policy, wanted, parseEntries);
  }

  writeData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    { entries, condition }: DataChange,
    limits: DataLimits,
  ) {
    const changes = [...entries].flatMap(([key, json]) => [key, json ?? '']);
    const args = [limits.maxBytes, limits.maxKeys, condition?.key ?? '', condition?.json ?? '', ...changes];
    return this.#onData('writeData', tag, claims, policy, args, ([outcome]) => outcome as DataWritten | 'changed');
  }

  takeData(tag: string, claims: TokenClaims, policy: ReusePolicy, key: string) {
    return this.#onData('takeData', tag, claims, policy, [key], ([json]) => json ?? null);
  }

  addToData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    { key, by }: { key: string; by: number },
    limits: DataLimits,
  ) {
    const args = [limits.maxBytes, limits.maxKeys, key, by];
    return this.#onData('addToData', tag, claims, policy, args, ([outcome, sum]) =>
      outcome === 'done' ? Number(sum) : (outcome as Exclude<DataWritten, 'done'> | 'no-number' | 'no-sum'),
    );
  }

  clearData(tag: string, claims: TokenClaims, policy: ReusePolicy) {
    return this.#onData('clearData', tag, claims, policy, NO_ARGUMENTS, () => 'done' as const);
  }

  async renewUserInfo(tag: string): Promise<number> {
    return integerIn(await this.#connection.run('renewUserInfo', [this.#keys.userInfo(tag)], []));
  }

  async setUserInfo(tag: string, userInfo: string, ttlMs: number, version: number): Promise<boolean> {
    const args = [userInfo, ttlMs, version];
    return 1 === integerIn(await this.#connection.run('setUserInfo', [this.#keys.userInfo(tag)], args));
  }

  async deleteUserInfo(tag: string): Promise<boolean> {
    return 1 === integerIn(await this.#connection.run('deleteUserInfo', [this.#keys.userInfo(tag)], []));
  }

  follow(follower: ChangeFollower, { heartbeatMs }: { heartbeatMs: number }): ChangeFeed {
    const shared = [...this.#feeds].find((feed) => feed.heartbeatMs === heartbeatMs);
    return (shared ?? this.#openFeed(heartbeatMs)).join(follower);
  }

  async *tags(): AsyncIterable<readonly string[]> {
    // A tag stands between this and a brace.
    const before = this.#connection.prefixed(this.#keys.sessions('')).slice(0, -1);
    const pattern = `${escapedGlob(before)}*}`;
    // Before that, a Cluster's client knows no servers.
    await this.#connection.ready();
    for (const server of this.#connection.servers()) {
      // A replica, which may know less than its master, refuses that.
      await this.#rights.writeNothing(server, this.#connection.timeoutMs);
      let cursor = '0';
      do {
        const from = cursor;
        const scan = (redis: Redis) => redis.scan(from, 'MATCH', pattern, 'COUNT', SCAN_COUNT);
        const [next, keys] = await this.#connection.sendTo(server, scan);
        yield keys.map((key) => key.slice(before.length, -1));
        cursor = next;
      } while (cursor !== '0');
    }
  }

  health(): Promise<HealthReport> {
    return this.#health.look();
  }

  async close(): Promise<void> {
    for (const feed of this.#feeds) feed.close();
    await this.#connection.close();
    this.#revocations.forget();
    this.#replicas?.close();
  }

  #openFeed(heartbeatMs: number): RedisChangeFeed {
    const onClose = () => this.#feeds.delete(feed);
    const feed = new RedisChangeFeed(this.#connection, this.#keys, this.#rights, { heartbeatMs, onClose });
    this.#feeds.add(feed);
    return feed;
  }

  #callFor(tag: string, startedAt = performance.now()): UserCall {
    const key = this.#keys.sessions(tag);
    return { key, server: this.#connection.serverOf(key), deadline: startedAt + this.#connection.timeoutMs };
  }

  /**
   * Asks for a session, in one call. Ending it for a reuse takes another call, with a deadline: the first may have
   * waited for Redis for so long that the grace of a request in flight is over. That request may also have come in
   * between; then both calls are made again.
   *
   * @throws SessionError `ERR_STORE_UNAVAILABLE` when that happens {@link MAX_TRIES} times in a row.
   */
  async #ask<Outcome extends Found | FoundData<unknown>>(
    name: ScriptName,
    keys: readonly [string, ...string[]],
    asked: Asked,
    args: readonly (string | number)[],
    parse: (asked: Asked, reply: FoundReply) => Outcome,
  ): Promise<Outcome> {
    const startedAt = performance.now();
    let leftMs = this.#connection.timeoutMs;
    let call: UserCall | null = null;
    try {
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        const found = parse(asked, await this.#connection.run<FoundReply>(name, keys, args, leftMs));
        if (!isReuse(found) || asked.policy.onReuse !== 'end-session') return found;
        call ??= this.#callFor(asked.claims.tag, startedAt);
        extendIfReadLate(call, leftMs);
        if (await this.#endReused(call, asked)) return { ...found, isEndedNow: true };
        // The record has moved on meanwhile.
        leftMs = Math.max(1, call.deadline - performance.now());
      }
    } catch (error) {
      throw withKey(error, this.#connection.prefixed(keys[0]));
    }
    const message = 'other requests moved the session on each time that it was to be ended for a reuse';
    throw new SessionError('ERR_STORE_UNAVAILABLE', message);
  }

  /** Ends a session for a reuse, if its token still is one. */
  async #endReused(call: UserCall, asked: Asked): Promise<boolean> {
    const argsUntil = (latest: number) => [...judgedBy(asked), latest];
    const [, outcome, moment = ''] = await this.#deadlines.run(call, 'endReused', argsUntil);
    if (outcome !== 'ended') return false;
    this.#remember(call, { ends: [{ sid: asked.claims.sid, moment: Number(moment) }] });
    return true;
  }

  async #end<Outcome>(
    name: 'end' | 'endWithData',
    tag: string,
    sid: string,
    why: EndedFor | null,
    parse: (userId: string, entries: string[]) => Outcome,
  ): Promise<Outcome | null> {
    const call = this.#callFor(tag);
    const args = [sid, why?.reason ?? '', why?.message ?? ''];
    try {
      const [moment, userId, ...entries] = await this.#runEnding(call, name, [call.key], args);
      const revocation = { ends: [{ sid, moment: Number(moment) }] };
      return await this.#secure(call, revocation, userId === undefined ? null : parse(userId, entries));
    } catch (error) {
      throw withKey(error, this.#connection.prefixed(call.key));
    }
  }

  /** Runs a script that ends sessions. The time that this process was held up counts against no later wait. */
  async #runEnding(
    call: UserCall,
    name: ScriptName,
    keys: readonly [string, ...string[]],
    args: readonly (string | number)[],
  ): Promise<TupleReply> {
    const argsOnSending = (heldUpMs: number) => {
      call.deadline += heldUpMs;
      return args;
    };
    const reply = tupleIn(await this.#connection.run<TupleReply>(name, keys, argsOnSending));
    extendIfReadLate(call, this.#connection.timeoutMs);
    return reply;
  }

  #onData<Outcome>(
    name: ScriptName,
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    args: readonly (string | number)[],
    parse: (outcome: readonly (string | null)[]) => Outcome,
  ): Promise<FoundData<Outcome>> {
    const asked = { claims, policy };
    const parseReply = (_: Asked, reply: FoundReply) => parseFoundData(asked, reply, parse);
    return this.#ask(name, [this.#keys.sessions(tag)], asked, [...judgedBy(asked), ...args], parseReply);
  }

  /** Keeps ended sessions ended: remembers the end, and has replicas confirm it if the store is durable. */
  async #secure<Outcome>(call: UserCall, revocation: Revocation, outcome: Outcome): Promise<Outcome> {
    this.#remember(call, revocation);
    await this.#replicas?.confirm(call.key, revocation, call.deadline).catch((error: unknown) => {
      throw withOutcome(error, outcome);
    });
    return outcome;
  }

  /** Has replicas confirm a moved session if the store is durable: its former record may be deleted then. */
  async #secureMove({ key, deadline }: UserCall, outcome: unknown): Promise<void> {
    await this.#replicas?.confirm(key, {}, deadline).catch((cause: unknown) => {
      const message = 'the session was moved, but too few replicas have it';
      throw withOutcome(new SessionError('ERR_NOT_REPLICATED', message, { cause }), outcome);
    });
  }

  /** The server of the call counts as informed only while it still holds the key: another may have answered. */
  #remember({ key, server }: UserCall, revocation: Revocation): void {
    this.#revocations.record(key, revocation, this.#connection.serverOf(key) === server ? server : null);
  }

  #bothKeys(tag: string): [string, string] {
    return [this.#keys.sessions(tag), this.#keys.userInfo(tag)];
  }
}

const NO_ARGUMENTS: readonly string[] = [];

/** Tries of a check whose session others move on before it is ended for a reuse. */
const MAX_TRIES = 3;

/** Keys that Redis looks at in one step of a scan: a fraction of a millisecond. */
const SCAN_COUNT = 500;

/** A text as a pattern of Redis that it alone matches. */
function escapedGlob(text: string): string {
  return text.replace(/[\\*?[\]^]/g, '\\$&');
}

/** The arguments by which the verbs on one session judge a token, see scripts/session.ts. */
function judgedBy({ claims: { sid, gen, mintedAt, provedAt }, policy }: Asked): [string, string, number] {
  return [sid, gen === 0 ? String(mintedAt) : `${gen}:${mintedAt}:${provedAt}`, policy.graceMs];
}

/** Also accepts clients by their methods: an application may have another version of ioredis. */
function isClient(redis: unknown): redis is Redis | Cluster {
  if (redis instanceof Redis || redis instanceof Cluster) return true;
  if (typeof redis !== 'object' || redis === null || !('defineCommand' in redis)) return false;
  if (!('status' in redis)) throw new TypeError(`RedisStore needs an ioredis client, got ${kindOf(redis)}`);
  return true;
}

import { checkFunction, integer, optional, type Readers, readOptions } from '../errors/arguments';
import { SessionError, storeClosed } from '../errors/session-error';
import type { TokenClaims } from '../token/token';
import { MAX_USER_INFO_LOAD_MS } from './limits';
import type { MemoryData } from './memory-data';
import { MemoryUser } from './memory-user';
import type {
  ChangeFeed,
  ChangeFollower,
  DataChange,
  DataLimits,
  EndAllOptions,
  EndedFor,
  EndedSession,
  Found,
  FoundData,
  HealthReport,
  NewSession,
  ReusePolicy,
  SessionEntries,
  SessionRecord,
  SessionState,
  SessionStates,
  Store,
  StoredBan,
  StoredSession,
  StoredUser,
} from './store';

/** Options of a {@link MemoryStore}. */
export interface MemoryStoreOptions {
  /** The clock, for tests: milliseconds since the epoch. Default `Date.now`. */
  now?: (() => number) | undefined;
  /** Seconds between two sweeps of expired sessions. Default 60. Range 1 to 86,400. */
  sweepEvery?: number | undefined;
}

const READERS = {
  // Looked up at each call: a test may install fake timers after this module is loaded.
  now: optional(checkFunction<() => number>, () => Date.now()),
  // Up to a day.
  sweepEvery: optional(integer(1, 24 * 3600), 60),
} satisfies Readers<MemoryStoreOptions>;

/** Cached user info until it expires, and its version until it is forgotten. `null`: only the version is left. */
interface UserInfo {
  text: string | null;
  version: number;
  expiresAt: number;
}

const NO_INFO: UserInfo = { text: null, version: 0, expiresAt: 0 };

/** The version is kept for at least as long as an earlier load could be stored. */
function forgottenAt({ version, expiresAt }: UserInfo): number {
  return Math.max(expiresAt, version + MAX_USER_INFO_LOAD_MS);
}

/**
 * Keeps sessions in this process: for development, tests and services of one process. They end with the process. A
 * sweep removes expired sessions; its timer keeps no process alive.
 */
export class MemoryStore implements Store {
  readonly #now: () => number;
  readonly #users = new Map<string, MemoryUser>();
  readonly #userInfo = new Map<string, UserInfo>();
  readonly #sweeper: NodeJS.Timeout;
  readonly #followers = new Set<ChangeFollower>();
  /** The changes of this store, all made in this process. */
  readonly #source = { completeUntil: Number.POSITIVE_INFINITY };
  #closed = false;

  /** @throws TypeError or RangeError naming the option that is unknown or of the wrong kind. */
  constructor(options?: MemoryStoreOptions) {
    const { now, sweepEvery } = readOptions('MemoryStore', options, READERS);
    this.#now = now;
    this.#sweeper = setInterval(() => this.#sweep(), sweepEvery * 1000).unref();
  }

  /** The content of the store, live or not yet swept. */
  get size(): { sessions: number; userInfo: number } {
    const sessions = [...this.#users.values()].reduce((sum, user) => sum + user.size, 0);
    const userInfo = [...this.#userInfo.values()].filter(({ text }) => text !== null).length;
    return { sessions, userInfo };
  }

  async create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number; ended: string[] }> {
    const now = this.#nowIfOpen();
    const user = this.#userOf(tag, session.userId);
    const { record, ended } = user.create(session, now);
    this.#users.set(tag, user);
    if (ended.length > 0) this.#changed(tag);
    return { session: copyOf(record), now, ended };
  }

  async check(tag: string, claims: TokenClaims, policy: ReusePolicy): Promise<Found> {
    return this.#find(tag, claims, policy, null);
  }

  async touch(tag: string, claims: TokenClaims, policy: ReusePolicy, slideEveryMs: number): Promise<Found> {
    return this.#touch(tag, claims, policy, slideEveryMs);
  }

  async touchWithData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    slideEveryMs: number,
  ): Promise<(StoredSession & { data: SessionEntries }) | EndedSession | null> {
    const found = this.#touch(tag, claims, policy, slideEveryMs);
    if (found === null || found.session === null) return found;
    return { ...found, data: this.#dataOf(tag, claims.sid).read(null) };
  }

  async refresh(tag: string, claims: TokenClaims, policy: ReusePolicy, ttlMs: number | null): Promise<Found> {
    const found = this.#find(tag, claims, policy, (record, now) => {
      record.seenAt = now;
      if (ttlMs !== null) record.ttlMs = ttlMs;
    });
    this.#changed(tag);
    return found;
  }

  async end(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string } | null> {
    const ended = await this.endWithData(tag, sid, why);
    return ended && { userId: ended.userId };
  }

  async endWithData(tag: string, sid: string, why: EndedFor | null) {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const data = user?.dataOf(sid)?.read(null) ?? new Map<string, string>();
    const wasLive = user?.end(sid, now, why) === true;
    this.#dropIfEmpty(tag);
    this.#changed(tag);
    return user === undefined || !wasLive ? null : { userId: user.userId, data };
  }

  async endAll(tag: string, { except, message, goneAtVersion }: EndAllOptions): Promise<string[]> {
    const now = this.#nowIfOpen();
    if (goneAtVersion !== null) {
      const { version } = this.#info(tag, now);
      if (version > goneAtVersion || now - goneAtVersion > MAX_USER_INFO_LOAD_MS) return [];
      this.#forgetInfo(tag, now);
    }
    const ended = this.#users.get(tag)?.endAll(now, { reason: 'revoked', message }, except) ?? [];
    this.#dropIfEmpty(tag);
    this.#changed(tag);
    return ended;
  }

  async ban(
    tag: string,
    { userId, durationMs, reason }: { userId: string; durationMs: number | null; reason: string | null },
  ): Promise<{ ban: StoredBan; ended: string[] }> {
    const now = this.#nowIfOpen();
    const user = this.#userOf(tag, userId);
    const ban = { userId, since: now, until: durationMs === null ? 0 : now + durationMs, reason };
    user.setBan(ban);
    this.#users.set(tag, user);
    const ended = user.endAll(now, { reason: 'banned', message: reason }, null);
    this.#changed(tag);
    return { ban: { ...ban }, ended };
  }

  async unban(tag: string, userId: string): Promise<boolean> {
    const now = this.#nowIfOpen();
    const user = this.#userOf(tag, userId);
    const wasBanned = user.ban(now) !== null;
    user.setBan(null);
    this.#dropIfEmpty(tag);
    return wasBanned;
  }

  async getBan(tag: string): Promise<StoredBan | null> {
    const now = this.#nowIfOpen();
    const ban = this.#users.get(tag)?.ban(now) ?? null;
    return ban === null ? null : { ...ban };
  }

  async list(tag: string): Promise<StoredUser | null> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    return user === undefined ? null : { userId: user.userId, now, sessions: user.live(now).map(copyOf) };
  }

  async states(tag: string, sids: readonly string[]): Promise<SessionStates> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const states = sids.map((sid) => user?.state(sid, now) ?? UNKNOWN);
    return { userId: user?.userId ?? null, now, states: states.map((state) => ({ ...state })) };
  }

  async readData(tag: string, claims: TokenClaims, policy: ReusePolicy, keys: readonly string[] | null) {
    return this.#onData(tag, claims, policy, (data) => data.read(keys));
  }

  async writeData(tag: string, claims: TokenClaims, policy: ReusePolicy, change: DataChange, limits: DataLimits) {
    return this.#onData(tag, claims, policy, (data) => data.write(change, limits));
  }

  async takeData(tag: string, claims: TokenClaims, policy: ReusePolicy, key: string) {
    return this.#onData(tag, claims, policy, (data) => data.take(key));
  }

  async addToData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    addition: { key: string; by: number },
    limits: DataLimits,
  ) {
    return this.#onData(tag, claims, policy, (data) => data.add(addition, limits));
  }

  async clearData(tag: string, claims: TokenClaims, policy: ReusePolicy) {
    return this.#onData(tag, claims, policy, (data) => data.clear());
  }

  async renewUserInfo(tag: string): Promise<number> {
    const now = this.#nowIfOpen();
    const { text, version, expiresAt } = this.#info(tag, now);
    return this.#keepInfo(tag, text, Math.max(now, version) + 1, expiresAt);
  }

  async setUserInfo(tag: string, text: string, ttlMs: number, version: number): Promise<boolean> {
    const now = this.#nowIfOpen();
    // A version in the future dates from before the clock was set back.
    const expiresAt = Math.min(version, now) + ttlMs;
    if (this.#info(tag, now).version > version) return false;
    if (expiresAt <= now || now - version > MAX_USER_INFO_LOAD_MS) return false;
    this.#keepInfo(tag, text, version, expiresAt);
    return true;
  }

  async deleteUserInfo(tag: string): Promise<boolean> {
    const now = this.#nowIfOpen();
    const wasThere = this.#info(tag, now).text !== null;
    this.#forgetInfo(tag, now);
    return wasThere;
  }

  async *tags(): AsyncIterable<readonly string[]> {
    this.#nowIfOpen();
    yield [...this.#users.keys()];
  }

  follow(follower: ChangeFollower): ChangeFeed {
    this.#followers.add(follower);
    queueMicrotask(() => {
      if (!this.#closed && this.#followers.has(follower)) follower.completenessChanged({ isComplete: true });
    });
    return {
      sourceOf: () => (this.#closed ? null : this.#source),
      askRedirections: 0,
      close: () => this.#followers.delete(follower),
    };
  }

  async health(): Promise<HealthReport> {
    if (this.#closed) return { status: 'down', latencyMs: null, reasons: ['the store is closed'] };
    return { status: 'up', latencyMs: 0, reasons: [] };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#source.completeUntil = Number.NEGATIVE_INFINITY;
    this.#followers.clear();
    clearInterval(this.#sweeper);
    this.#users.clear();
    this.#userInfo.clear();
  }

  #changed(tag: string): void {
    for (const follower of this.#followers) follower.changed(tag);
  }

  #nowIfOpen(): number {
    if (this.#closed) throw storeClosed();
    // Tokens hold whole milliseconds.
    return Math.floor(this.#now());
  }

  /** The user under this tag, or a new one that is not stored yet. */
  #userOf(tag: string, userId: string): MemoryUser {
    const user = this.#users.get(tag) ?? new MemoryUser(userId);
    if (user.userId === userId) return user;
    throw new SessionError('ERR_STORE_CORRUPT', "this user's record belongs to another user");
  }

  #onData<Outcome>(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    act: (data: MemoryData) => Outcome,
  ): FoundData<Outcome> {
    const found = this.#find(tag, claims, policy, null);
    if (found === null || found.session === null) return found;
    return { userId: found.userId, data: act(this.#dataOf(tag, claims.sid)) };
  }

  /** The data of a live session. */
  #dataOf(tag: string, sid: string): MemoryData {
    return this.#users.get(tag)?.dataOf(sid) as MemoryData;
  }

  #touch(tag: string, claims: TokenClaims, policy: ReusePolicy, slideEveryMs: number): Found {
    return this.#find(tag, claims, policy, (record, now) => {
      const age = now - record.seenAt;
      if (age < 0 || age >= Math.min(slideEveryMs, record.ttlMs / 2)) record.seenAt = now;
    });
  }

  /** Looks a session up. `use` may change it, and moves it on to a new token. Gives the session as it is afterwards. */
  #find(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    use: ((record: SessionRecord, now: number) => void) | null,
  ): Found {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const found = user?.find(claims, policy, now) ?? null;
    if (user === undefined || found === null) return null;
    if ('session' in found) {
      if (found.isEndedNow) this.#changed(tag);
      return found;
    }
    const { record, isNew } = found;
    if (use !== null) use(record, now);
    if (use !== null && isNew) {
      const { gen, mintedAt, provedAt } = claims;
      Object.assign(record, { gen, mintedAt, provedAt, confirmedAt: now });
      this.#changed(tag);
    }
    const { text, version } = this.#info(tag, now);
    return { userId: user.userId, session: copyOf(record), now, userInfo: text, userInfoVersion: version };
  }

  /** The user info; of version 0 when nothing is known. */
  #info(tag: string, now: number): UserInfo {
    const known = this.#userInfo.get(tag);
    if (known === undefined || forgottenAt(known) <= now) return NO_INFO;
    return known.expiresAt > now ? known : { ...known, text: null };
  }

  /** Stores that there is no info, under a version beyond that of every load that has begun. */
  #forgetInfo(tag: string, now: number): void {
    this.#keepInfo(tag, null, Math.max(now, this.#info(tag, now).version) + 1, 0);
  }

  /** Stores an info, and gives its version. */
  #keepInfo(tag: string, text: string | null, version: number, expiresAt: number): number {
    this.#userInfo.set(tag, { text, version, expiresAt });
    this.#changed(tag);
    return version;
  }

  #sweep(): void {
    const now = this.#now();
    for (const [tag, user] of this.#users) {
      user.forgetOld(now);
      this.#dropIfEmpty(tag);
    }
    for (const [tag, info] of this.#userInfo) if (forgottenAt(info) <= now) this.#userInfo.delete(tag);
  }

  #dropIfEmpty(tag: string): void {
    if (this.#users.get(tag)?.isEmpty) this.#users.delete(tag);
  }
}

const UNKNOWN: SessionState = { isLive: false, reason: 'unknown', message: null };

/** A copy, so that a caller's change doesn't change the store. */
function copyOf(record: SessionRecord): SessionRecord {
  return { ...record, attributes: { ...record.attributes } };
}

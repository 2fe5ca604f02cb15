import { SessionError } from '../core/errors';
import { checkFunction, checkInteger, checkOptions } from '../core/options';
import {
  expiryOf,
  type NewSession,
  type SessionRecord,
  type Store,
  type StoredSession,
  type StoredUser,
  type StoreHealth,
} from '../core/store';

export interface MemoryStoreOptions {
  /** The clock: milliseconds since the epoch. Default `Date.now`. For tests. */
  now?: (() => number) | undefined;
  /** Seconds between two sweeps for what has expired without a request, up to 86,400. Default 60. */
  sweepEvery?: number | undefined;
}

const OPTIONS: Record<keyof MemoryStoreOptions, true> = { now: true, sweepEvery: true };

/** A day, in seconds. */
const MAX_SWEEP_EVERY = 24 * 3600;

interface UserRecord {
  userId: string;
  /** In order of login. */
  sessions: Map<string, SessionRecord>;
}

/**
 * Keeps sessions in this process: for development, tests and services of one process. They end with it. Expired ones are swept
 * away without a request for them; the sweep's timer keeps no process alive.
 */
export class MemoryStore implements Store {
  readonly #now: () => number;
  readonly #users = new Map<string, UserRecord>();
  readonly #userInfo = new Map<string, { text: string; expiresAt: number }>();
  readonly #sweeper: NodeJS.Timeout;
  #closed = false;

  /** @throws TypeError or RangeError naming the option that is unknown or of the wrong kind. */
  constructor(options?: MemoryStoreOptions) {
    const { now = Date.now, sweepEvery = 60 } = checkOptions('MemoryStore', options, OPTIONS);
    checkFunction('option now', now);
    checkInteger('option sweepEvery', sweepEvery, 1, MAX_SWEEP_EVERY);
    this.#now = now;
    this.#sweeper = setInterval(() => this.#sweep(), sweepEvery * 1000).unref();
  }

  /** What is held, live or not yet swept away. */
  get size(): { sessions: number; userInfo: number } {
    const sessions = [...this.#users.values()].reduce((sum, user) => sum + user.sessions.size, 0);
    return { sessions, userInfo: this.#userInfo.size };
  }

  async create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number }> {
    const now = this.#nowIfOpen();
    const { userId, sid, ttlMs, absoluteTtlMs, attributes, maxSessions, replaces } = session;
    const user = this.#users.get(tag) ?? { userId, sessions: new Map<string, SessionRecord>() };
    if (user.userId !== userId)
      throw new SessionError('ERR_STORE_CORRUPT', "this user's record belongs to somebody else");

    const newest = Math.max(0, ...[...user.sessions.values()].map(({ createdAt }) => createdAt));
    const record: SessionRecord = {
      sid,
      createdAt: Math.max(now, newest + 1),
      seenAt: now,
      ttlMs,
      capAt: absoluteTtlMs > 0 ? now + absoluteTtlMs : 0,
      attributes: { ...attributes },
    };
    for (const replaced of replaces) user.sessions.delete(replaced);
    dropExpired(user, now);
    for (const oldest of [...user.sessions.keys()].slice(0, Math.max(0, user.sessions.size + 1 - maxSessions))) {
      user.sessions.delete(oldest);
    }
    user.sessions.set(sid, record);
    this.#users.set(tag, user);
    return { session: copyOf(record), now };
  }

  async check(tag: string, sid: string): Promise<StoredSession | null> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const record = liveSession(user, sid, now);
    if (user === undefined || record === null) return null;
    return { userId: user.userId, session: copyOf(record), now, userInfo: this.#cachedInfo(tag, now) };
  }

  async touch(tag: string, sid: string, slideEveryMs: number): Promise<StoredSession | null> {
    const now = this.#nowIfOpen();
    const record = liveSession(this.#users.get(tag), sid, now);
    if (record !== null && now - record.seenAt >= Math.min(slideEveryMs, record.ttlMs / 2)) record.seenAt = now;
    return this.check(tag, sid);
  }

  async refresh(tag: string, sid: string, ttlMs: number | null): Promise<boolean> {
    const now = this.#nowIfOpen();
    const record = liveSession(this.#users.get(tag), sid, now);
    if (record === null) return false;
    record.seenAt = now;
    if (ttlMs !== null) record.ttlMs = ttlMs;
    return true;
  }

  async end(tag: string, sid: string): Promise<boolean> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const wasLive = liveSession(user, sid, now) !== null;
    user?.sessions.delete(sid);
    this.#dropIfEmpty(tag);
    return wasLive;
  }

  async endAll(tag: string, options: { except: string | null; forgetUserInfo: boolean }): Promise<number> {
    const now = this.#nowIfOpen();
    const { except, forgetUserInfo } = options;
    if (forgetUserInfo) this.#userInfo.delete(tag);
    let ended = 0;
    for (const record of this.#users.get(tag)?.sessions.values() ?? []) {
      if (record.sid === except) continue;
      if (expiryOf(record) > now) ended++;
      this.#users.get(tag)?.sessions.delete(record.sid);
    }
    this.#dropIfEmpty(tag);
    return ended;
  }

  async list(tag: string): Promise<StoredUser | null> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    if (user === undefined) return null;
    const sessions = [...user.sessions.values()].filter((record) => expiryOf(record) > now).map(copyOf);
    return { userId: user.userId, now, sessions };
  }

  async setUserInfo(tag: string, userInfo: string, ttlMs: number): Promise<void> {
    this.#userInfo.set(tag, { text: userInfo, expiresAt: this.#nowIfOpen() + ttlMs });
  }

  async deleteUserInfo(tag: string): Promise<boolean> {
    const now = this.#nowIfOpen();
    const wasThere = this.#cachedInfo(tag, now) !== null;
    this.#userInfo.delete(tag);
    return wasThere;
  }

  async health(): Promise<StoreHealth> {
    if (this.#closed) return { status: 'down', latencyMs: null, reasons: ['the store is closed'] };
    return { status: 'up', latencyMs: 0, reasons: [] };
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweeper);
    this.#users.clear();
    this.#userInfo.clear();
  }

  /** The time, in a store that is still open. */
  #nowIfOpen(): number {
    if (this.#closed) throw new SessionError('ERR_STORE_UNAVAILABLE', 'the store is closed');
    return this.#now();
  }

  #cachedInfo(tag: string, now: number): string | null {
    const cached = this.#userInfo.get(tag);
    return cached !== undefined && cached.expiresAt > now ? cached.text : null;
  }

  #sweep(): void {
    const now = this.#now();
    for (const [tag, user] of this.#users) {
      dropExpired(user, now);
      this.#dropIfEmpty(tag);
    }
    for (const [tag, { expiresAt }] of this.#userInfo) {
      if (expiresAt <= now) this.#userInfo.delete(tag);
    }
  }

  #dropIfEmpty(tag: string): void {
    if (this.#users.get(tag)?.sessions.size === 0) this.#users.delete(tag);
  }
}

function liveSession(user: UserRecord | undefined, sid: string, now: number): SessionRecord | null {
  const record = user?.sessions.get(sid);
  return record !== undefined && expiryOf(record) > now ? record : null;
}

function dropExpired(user: UserRecord, now: number): void {
  for (const record of user.sessions.values()) {
    if (expiryOf(record) <= now) user.sessions.delete(record.sid);
  }
}

/** What the store gives away can be changed without changing the store. */
function copyOf(record: SessionRecord): SessionRecord {
  return { ...record, attributes: { ...record.attributes } };
}

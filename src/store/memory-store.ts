import { SessionError } from '../errors/session-error';
import { checkFunction, checkInteger, checkOptions } from '../errors/arguments';
import type {
  EndedFor,
  EndedSession,
  Found,
  LookOptions,
  NewSession,
  Rotation,
  SessionRecord,
  Store,
  StoredBan,
  StoredUser,
  StoreHealth,
} from './store';
import { MemoryUser } from './memory-user';

export interface MemoryStoreOptions {
  /** The clock: milliseconds since the epoch. Default `Date.now`. For tests. */
  now?: (() => number) | undefined;
  /** Seconds between two sweeps for what has expired without a request, up to 86,400. Default 60. */
  sweepEvery?: number | undefined;
}

const OPTIONS: Record<keyof MemoryStoreOptions, true> = { now: true, sweepEvery: true };

/** A day, in seconds. */
const MAX_SWEEP_EVERY = 24 * 3600;

/**
 * Keeps sessions in this process: for development, tests and services of one process. They end with it. Expired ones are swept
 * away without a request for them; the sweep's timer keeps no process alive.
 */
export class MemoryStore implements Store {
  readonly #now: () => number;
  readonly #users = new Map<string, MemoryUser>();
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
    const sessions = [...this.#users.values()].reduce((sum, user) => sum + user.size, 0);
    return { sessions, userInfo: this.#userInfo.size };
  }

  async create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number; ended: string[] }> {
    const now = this.#nowIfOpen();
    const user = this.#userOf(tag, session.userId);
    if (user.ban(now) !== null) {
      throw new SessionError('ERR_USER_BANNED', 'this user is banned: no session was started');
    }
    const created = user.create(session, now);
    if (created === null) {
      const message = 'this user has as many sessions as they may: no other was started';
      throw new SessionError('ERR_TOO_MANY_SESSIONS', message);
    }
    this.#users.set(tag, user);
    return { session: copyOf(created.record), now, ended: created.ended };
  }

  async check(tag: string, sid: string, options?: LookOptions): Promise<Found> {
    return this.#find(tag, sid, () => undefined, options);
  }

  async touch(tag: string, sid: string, slideEveryMs: number, options?: LookOptions): Promise<Found> {
    const slide = (record: SessionRecord, now: number) => {
      if (now - record.seenAt >= Math.min(slideEveryMs, record.ttlMs / 2)) record.seenAt = now;
    };
    return this.#find(tag, sid, slide, options);
  }

  async refresh(tag: string, sid: string, ttlMs: number | null): Promise<Found> {
    return this.#find(tag, sid, (record, now) => {
      record.seenAt = now;
      if (ttlMs !== null) record.ttlMs = ttlMs;
    });
  }

  async reauthenticate(tag: string, sid: string): Promise<Found> {
    return this.#find(tag, sid, (record, now) => {
      record.authenticatedAt = now;
    });
  }

  async rotate(tag: string, sid: string, rotation: Rotation): Promise<Found> {
    return this.#find(tag, sid, (record, now, user) => {
      if (record.sid === sid) user.rotate(record, rotation, now);
    });
  }

  async unrotate(tag: string, sid: string, newSid: string): Promise<boolean> {
    this.#nowIfOpen();
    return this.#users.get(tag)?.unrotate(sid, newSid) ?? false;
  }

  async end(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string; sid: string } | null> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const ended = user?.end(sid, now, why);
    this.#dropIfEmpty(tag);
    return user === undefined || !ended ? null : { userId: user.userId, sid: ended };
  }

  async endAll(
    tag: string,
    options: { except: string | null; forgetUserInfo: boolean; message: string | null },
  ): Promise<string[]> {
    const now = this.#nowIfOpen();
    const { except, forgetUserInfo, message } = options;
    if (forgetUserInfo) this.#userInfo.delete(tag);
    const user = this.#users.get(tag);
    if (user === undefined) return [];
    const ended = user.endAll(now, { reason: 'revoked', message }, except);
    this.#dropIfEmpty(tag);
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
    return { ban: { ...ban }, ended: user.endAll(now, { reason: 'banned', message: reason }, null) };
  }

  async unban(tag: string): Promise<boolean> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const wasBanned = (user?.ban(now) ?? null) !== null;
    user?.setBan(null);
    this.#dropIfEmpty(tag);
    return wasBanned;
  }

  async getBan(tag: string): Promise<StoredBan | null> {
    const ban = this.#users.get(tag)?.ban(this.#nowIfOpen()) ?? null;
    return ban === null ? null : { ...ban };
  }

  async list(tag: string): Promise<StoredUser | null> {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    return user === undefined ? null : { userId: user.userId, now, sessions: user.live(now).map(copyOf) };
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

  /** The user under this tag, or a new one that is not kept yet. */
  #userOf(tag: string, userId: string): MemoryUser {
    const user = this.#users.get(tag) ?? new MemoryUser(userId);
    if (user.userId === userId) return user;
    throw new SessionError('ERR_STORE_CORRUPT', "this user's record belongs to somebody else");
  }

  /** Looks a session up, changes it, and gives it as it is then. */
  #find(
    tag: string,
    sid: string,
    change: (record: SessionRecord, now: number, user: MemoryUser) => void,
    { forgiving = false }: LookOptions = {},
  ): Found {
    const now = this.#nowIfOpen();
    const user = this.#users.get(tag);
    const found = user?.use(sid, now, forgiving) ?? null;
    if (user === undefined || found === null || 'session' in found) return found as EndedSession | null;
    change(found, now, user);
    return { userId: user.userId, session: copyOf(found), now, userInfo: this.#cachedInfo(tag, now) };
  }

  #cachedInfo(tag: string, now: number): string | null {
    const cached = this.#userInfo.get(tag);
    return cached !== undefined && cached.expiresAt > now ? cached.text : null;
  }

  #sweep(): void {
    const now = this.#now();
    for (const [tag, user] of this.#users) {
      user.dropExpired(now);
      this.#dropIfEmpty(tag);
    }
    for (const [tag, { expiresAt }] of this.#userInfo) {
      if (expiresAt <= now) this.#userInfo.delete(tag);
    }
  }

  #dropIfEmpty(tag: string): void {
    if (this.#users.get(tag)?.isEmpty) this.#users.delete(tag);
  }
}

/** What the store gives away can be changed without changing the store. */
function copyOf(record: SessionRecord): SessionRecord {
  return { ...record, attributes: { ...record.attributes } };
}

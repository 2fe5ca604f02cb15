import { startRefusal } from '../errors/start-refusal';
import type { TokenClaims } from '../token/token';
import { MAX_ENDED_MS, MAX_EXPIRED_MS, MAX_REMEMBERED } from './limits';
import { MemoryData } from './memory-data';
import {
  type EndedSession,
  expiryOf,
  judge,
  type NewSession,
  type ReusePolicy,
  type SessionRecord,
  type SessionState,
  type StoredBan,
} from './store';

/** A session whose end is remembered. `unknown`: its holder ended it, and it came from another store. */
interface Ended {
  reason: EndedSession['reason'] | 'unknown';
  message: string | null;
  rememberedUntil: number;
}

type Why = Pick<EndedSession, 'reason' | 'message'>;

const MOVED = { reason: 'unknown', message: null } as const;
const EXPIRED = { reason: 'expired', message: null } as const;

interface KeptSession {
  record: SessionRecord;
  data: MemoryData;
}

/** One user in the memory store. Does what RedisStore's scripts do on one hash, in the same words. */
export class MemoryUser {
  readonly userId: string;
  /** In order of login. */
  readonly #sessions = new Map<string, KeptSession>();
  readonly #ended = new Map<string, Ended>();
  #ban: StoredBan | null = null;

  constructor(userId: string) {
    this.userId = userId;
  }

  /** Stored sessions, live or not yet swept. */
  get size(): number {
    return this.#sessions.size;
  }

  get isEmpty(): boolean {
    return this.#sessions.size === 0 && this.#ended.size === 0 && this.#ban === null;
  }

  /** The data of a session, live or not yet swept, to read and change. */
  dataOf(sid: string): MemoryData | undefined {
    return this.#sessions.get(sid)?.data;
  }

  ban(now: number): StoredBan | null {
    return this.#ban !== null && (this.#ban.until === 0 || this.#ban.until > now) ? this.#ban : null;
  }

  setBan(ban: StoredBan | null): void {
    this.#ban = ban;
  }

  /** The live sessions, oldest login first. */
  live(now: number): SessionRecord[] {
    return [...this.#sessions.values()].map(({ record }) => record).filter((record) => expiryOf(record) > now);
  }

  /**
   * The live session of a token, or why there is none. Ends the session when the token is a reuse and the policy says
   * so.
   */
  find(
    claims: TokenClaims,
    { graceMs, onReuse }: ReusePolicy,
    now: number,
  ): { record: SessionRecord; isNew: boolean } | EndedSession | null {
    const { sid } = claims;
    const why = {
      session: null,
      userId: this.userId,
      sid,
      message: null,
      isDetected: true,
      isEndedNow: false,
    } as const;
    const record = this.#sessions.get(sid)?.record;
    if (record === undefined) {
      const ended = this.#ended.get(sid);
      if (ended === undefined || ended.reason === 'unknown' || ended.rememberedUntil <= now) return null;
      return { ...why, reason: ended.reason, message: ended.message, isDetected: false };
    }
    if (expiryOf(record) <= now) return { ...why, reason: 'expired' };
    const judgement = judge(claims, record, graceMs, now);
    if (judgement !== 'reuse') return { record, isNew: judgement === 'new' };
    const isEndedNow = onReuse === 'end-session';
    if (isEndedNow) this.end(sid, now, { reason: 'reused', message: null });
    return { ...why, reason: 'reused', isEndedNow };
  }

  /** The state of a session; `null` when nothing is known of it. */
  state(sid: string, now: number): SessionState | null {
    const record = this.#sessions.get(sid)?.record;
    if (record !== undefined) {
      const expiresAt = expiryOf(record);
      return expiresAt > now ? { isLive: true, expiresAt } : { isLive: false, reason: 'expired', message: null };
    }
    const ended = this.#ended.get(sid);
    if (ended === undefined || ended.rememberedUntil <= now) return null;
    return { isLive: false, reason: ended.reason, message: ended.message };
  }

  /**
   * Starts a session. Gives the ids of the live ones that it ended. If a live session has its id, gives that one.
   *
   * @throws SessionError, a {@link startRefusal}.
   */
  create(session: NewSession, now: number): { record: SessionRecord; ended: string[] } {
    const { sid, ttlMs, absoluteTtlMs, attributes, data = [], inherits, provedAt } = session;
    const former = this.#sessions.get(sid)?.record;
    if (former !== undefined && expiryOf(former) > now) return { record: former, ended: [] };
    if (this.ban(now) !== null) throw startRefusal('ERR_USER_BANNED');
    // A life counts from the login, also of a session that came from another store.
    const capAt = absoluteTtlMs > 0 ? Math.min(provedAt || now, now) + absoluteTtlMs : 0;
    const isKnown = former !== undefined || (this.#ended.get(sid)?.rememberedUntil ?? 0) > now;
    const isOver = isKnown || (capAt > 0 && capAt <= now);
    if (provedAt !== undefined && isOver) throw startRefusal('ERR_NO_SESSION');
    const givingWay = this.#givingWay(session, now);
    if (givingWay === null) throw startRefusal('ERR_TOO_MANY_SESSIONS');
    const newest = Math.max(0, ...[...this.#sessions.values()].map(({ record }) => record.createdAt));
    const createdAt = Math.max(now, newest + 1);
    const record = {
      sid,
      createdAt,
      seenAt: now,
      ttlMs,
      capAt,
      gen: 0,
      mintedAt: now,
      confirmedAt: now,
      provedAt: provedAt ?? now,
      attributes: { ...attributes },
    };
    const isHeir = inherits !== undefined && this.state(inherits.sid, now)?.isLive;
    const inherited = (isHeir ? this.dataOf(inherits.sid)?.read(inherits.keys) : null) ?? [];
    for (const other of givingWay) this.end(other, now, { reason: 'replaced', message: null });
    this.#ended.delete(sid);
    // After the others: they are in order of login.
    this.#sessions.delete(sid);
    this.#sessions.set(sid, { record, data: new MemoryData(new Map([...data, ...inherited])) });
    this.forgetOld(now);
    return { record, ended: givingWay };
  }

  /** Ends a session. `false` when it was not live. Its tokens show the reason from then on, unless it is `null`. */
  end(sid: string, now: number, why: Why | null): boolean {
    const record = this.#sessions.get(sid)?.record;
    if (record === undefined) return false;
    this.#sessions.delete(sid);
    const expiresAt = expiryOf(record);
    const isLive = expiresAt > now;
    // Every end of a moved session is remembered, so that it is not moved once more.
    const ofMoved = isLive ? MOVED : EXPIRED;
    const remembered = (isLive ? why : null) ?? (record.attributes.moved ? ofMoved : null);
    if (remembered !== null) {
      const longest = record.attributes.moved ? expiresAt : Math.min(expiresAt, now + MAX_ENDED_MS);
      const rememberedUntil = isLive ? longest : expiresAt + MAX_EXPIRED_MS;
      // Not the given id, which may be part of a request header, and would keep all of that in memory.
      this.#ended.set(record.sid, { ...remembered, rememberedUntil });
    }
    return isLive;
  }

  /** Ends all sessions but one. Gives the ids of the live ones. */
  endAll(now: number, why: Why, except: string | null): string[] {
    const ended = [...this.#sessions.keys()].filter((sid) => sid !== except && this.end(sid, now, why));
    this.forgetOld(now);
    return ended;
  }

  /**
   * Deletes everything that is over. Of ended and expired sessions beyond the limit, deletes those that would be
   * forgotten soonest.
   */
  forgetOld(now: number): void {
    const remembered: [until: number, forget: () => void][] = [];
    for (const [sid, { rememberedUntil }] of this.#ended) {
      remembered.push([rememberedUntil, () => this.#ended.delete(sid)]);
    }
    for (const [sid, { record }] of this.#sessions) {
      const expiresAt = expiryOf(record);
      if (expiresAt > now) continue;
      remembered.push([expiresAt + Math.min(record.ttlMs, MAX_EXPIRED_MS), () => this.#sessions.delete(sid)]);
    }
    remembered.sort(([a], [b]) => b - a);
    for (const [index, [until, forget]] of remembered.entries()) {
      if (index >= MAX_REMEMBERED || until <= now) forget();
    }
    this.#ban = this.ban(now);
  }

  /** The live sessions that a new one ends; `null` when a limit refuses the login. */
  #givingWay({ attributes, maxSessions, maxOnDevice, onLimit, replaces }: NewSession, now: number): string[] | null {
    const replaced = new Set(replaces);
    const over = (records: SessionRecord[], limit: number) =>
      records.slice(0, Math.max(0, records.length + 1 - limit)).map(({ sid }) => sid);
    const live = this.live(now);
    const staying = live.filter(({ sid }) => !replaced.has(sid));
    const onDevice = staying.filter((record) => (record.attributes.device ?? '') === (attributes.device ?? ''));
    const overOnDevice = new Set(maxOnDevice === 0 ? [] : over(onDevice, maxOnDevice));
    const overInAll = over(
      staying.filter(({ sid }) => !overOnDevice.has(sid)),
      maxSessions,
    );
    if (onLimit === 'reject' && overOnDevice.size + overInAll.length > 0) return null;
    const givingWay = new Set([...replaced, ...overOnDevice, ...overInAll]);
    return live.map(({ sid }) => sid).filter((sid) => givingWay.has(sid));
  }
}

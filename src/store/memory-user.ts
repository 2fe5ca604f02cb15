import {
  type EndedSession,
  expiryOf,
  type NewSession,
  type Rotation,
  type SessionRecord,
  type StoredBan,
} from './store';

/** Milliseconds for which a token is told why its session has ended, at most; and the entries of either kind that one user may have. */
const DAY = 24 * 3_600_000;
/** Milliseconds for which it is known that a session's time was up, at most: as long again as it could have lived unused. */
const HOUR = 3_600_000;
const MAX_ENDED = 100;
const MAX_ROTATED = 100;
/** Of those that were rotated, as many while they are in their grace. */
const MAX_IN_GRACE = 1000;

/** A session that somebody else than its holder has ended. */
interface Ended {
  reason: EndedSession['reason'];
  message: string | null;
  /** When that is forgotten. */
  toldUntil: number;
}

type Why = Pick<Ended, 'reason' | 'message'>;

/** An id that a session had before its token was rotated. */
interface Rotated {
  successor: string;
  graceOver: number;
  onReuse: Rotation['onReuse'];
}

/** What the memory store knows of one user: what RedisStore's scripts do on one hash, in the same words. */
export class MemoryUser {
  readonly userId: string;
  /** In order of login, but for those that were rotated since. */
  readonly #sessions = new Map<string, SessionRecord>();
  readonly #ended = new Map<string, Ended>();
  readonly #rotated = new Map<string, Rotated>();
  #ban: StoredBan | null = null;

  constructor(userId: string) {
    this.userId = userId;
  }

  /** Sessions that are held, live or not yet swept away. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Whether nothing is held of this user. */
  get isEmpty(): boolean {
    return this.#sessions.size === 0 && this.#ended.size === 0 && this.#ban === null;
  }

  ban(now: number): StoredBan | null {
    return this.#ban !== null && (this.#ban.until === 0 || this.#ban.until > now) ? this.#ban : null;
  }

  setBan(ban: StoredBan | null): void {
    this.#ban = ban;
  }

  /** The live sessions, oldest login first. */
  live(now: number): SessionRecord[] {
    return [...this.#sessions.values()]
      .filter((record) => expiryOf(record) > now)
      .sort((a, b) => a.createdAt - b.createdAt);
  }

  /** The session that an id stands for: its own, or that of the token which took its place. */
  current(sid: string): string {
    return this.#rotated.get(sid)?.successor ?? sid;
  }

  /** The live session of an id that is used, or why there is none. May end it: see `Store.rotate`. */
  use(sid: string, now: number, forgiving: boolean): SessionRecord | EndedSession | null {
    const rotated = this.#rotated.get(sid);
    const record = this.#sessions.get(this.current(sid));
    const isLive = record !== undefined && expiryOf(record) > now;
    const isReuse = rotated !== undefined && rotated.graceOver <= now;
    if (isLive && !isReuse) return record;

    const ended = { session: null, userId: this.userId, sid: this.current(sid), isDetected: false, isEndedNow: false };
    const ban = this.ban(now);
    if (ban !== null) return { ...ended, reason: 'banned', message: ban.reason };
    if (isLive) {
      const isEndedNow = rotated?.onReuse === 'end' && !forgiving;
      if (isEndedNow) this.end(ended.sid, now, { reason: 'reused', message: null });
      return { ...ended, reason: 'reused', message: null, isDetected: true, isEndedNow };
    }
    if (record !== undefined) return { ...ended, reason: 'expired', message: null, isDetected: true };
    const known = this.#ended.get(ended.sid);
    if (known === undefined || known.toldUntil <= now) return null;
    return { ...ended, reason: known.reason, message: known.message };
  }

  /** Starts a session and gives the ids of the live ones that gave way to it; `null` when it may not be started. */
  create(session: NewSession, now: number): { record: SessionRecord; ended: string[] } | null {
    const { sid, ttlMs, absoluteTtlMs, attributes } = session;
    const givingWay = this.#givingWay(session, now);
    if (givingWay === null) return null;
    const newest = Math.max(0, ...[...this.#sessions.values()].map(({ createdAt }) => createdAt));
    const createdAt = Math.max(now, newest + 1);
    const capAt = absoluteTtlMs > 0 ? now + absoluteTtlMs : 0;
    const record = {
      sid,
      createdAt,
      seenAt: now,
      ttlMs,
      capAt,
      authenticatedAt: createdAt,
      attributes: { ...attributes },
    };
    for (const other of session.replaces) this.#end(other, now, { reason: 'replaced', message: null });
    for (const other of givingWay) this.#end(other, now, { reason: 'replaced', message: null });
    this.dropExpired(now);
    this.#sessions.set(sid, record);
    return { record, ended: givingWay };
  }

  /** Gives a live session another id. */
  rotate(record: SessionRecord, { newSid, graceMs, onReuse }: Rotation, now: number): void {
    const { sid } = record;
    this.#rename(record, newSid);
    this.#rotated.set(sid, { successor: newSid, graceOver: now + graceMs, onReuse });
    this.#prune(now);
  }

  /** Takes a rotation back; `false` when there was none. */
  unrotate(sid: string, newSid: string): boolean {
    const record = this.#sessions.get(newSid);
    if (record === undefined || this.#rotated.get(sid)?.successor !== newSid) return false;
    this.#rotated.delete(sid);
    this.#rename(record, sid);
    return true;
  }

  /** Ends a session and gives its id, if it was live. Who still has a token of it is told why, but for `null`. */
  end(sid: string, now: number, why: Why | null): string | null {
    const ended = this.#end(sid, now, why);
    this.#prune(now);
    return ended;
  }

  #end(sid: string, now: number, why: Why | null): string | null {
    const current = this.current(sid);
    const record = this.#sessions.get(current);
    if (record === undefined) return null;
    this.#sessions.delete(current);
    const isLive = expiryOf(record) > now;
    if (isLive && why !== null) this.#ended.set(current, { ...why, toldUntil: Math.min(expiryOf(record), now + DAY) });
    return isLive ? current : null;
  }

  /** Ends all sessions but one, and gives the ids of those that were live. */
  endAll(now: number, why: Why, except: string | null): string[] {
    const kept = except === null ? null : this.current(except);
    const others = [...this.#sessions.keys()].filter((sid) => sid !== kept);
    const ended = others.map((sid) => this.#end(sid, now, why)).filter((sid) => sid !== null);
    this.#prune(now);
    return ended;
  }

  /** Keeps a session under another id, for which its former ids stand from now on. */
  #rename(record: SessionRecord, sid: string): void {
    for (const rotated of this.#rotated.values()) {
      if (rotated.successor === record.sid) rotated.successor = sid;
    }
    this.#sessions.delete(record.sid);
    record.sid = sid;
    this.#sessions.set(sid, record);
  }

  /** Forgets the sessions whose time was up long ago. */
  dropExpired(now: number): void {
    for (const [sid, record] of this.#sessions) {
      if (expiryOf(record) + Math.min(record.ttlMs, HOUR) <= now) this.#sessions.delete(sid);
    }
    this.#prune(now);
  }

  /** Forgets what else is over, and the first to be over of what is beyond the limits. */
  #prune(now: number): void {
    const limits = { over: MAX_ROTATED, toCome: MAX_IN_GRACE, now };
    keepLast(this.#ended, { ...limits, toCome: MAX_ENDED }, ({ toldUntil }) => (toldUntil > now ? toldUntil : null));
    keepLast(this.#rotated, limits, ({ successor, graceOver }) =>
      this.#sessions.has(successor) || this.#ended.has(successor) ? graceOver : null,
    );
    this.#ban = this.ban(now);
  }

  /** The sessions that give way to a new one; `null` when there are any over a limit and the login is refused for it. */
  #givingWay({ attributes, maxSessions, maxOnDevice, onLimit, replaces }: NewSession, now: number): string[] | null {
    const replaced = new Set(replaces.map((sid) => this.current(sid)));
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

interface Limits {
  /** How many may be kept, and how many of those whose time is still to come. */
  over: number;
  toCome: number;
  now: number;
}

/** Deletes the entries for which `overAt` gives null, and the first to be over of those beyond the limits. */
function keepLast<Entry>(
  entries: Map<string, Entry>,
  { over, toCome, now }: Limits,
  overAt: (entry: Entry) => number | null,
): void {
  const kept: [sid: string, at: number][] = [];
  for (const [sid, entry] of entries) {
    const at = overAt(entry);
    if (at === null) entries.delete(sid);
    else kept.push([sid, at]);
  }
  if (kept.length <= over) return;
  kept.sort(([, a], [, b]) => b - a);
  for (const [index, [sid, at]] of kept.entries()) {
    if (index >= toCome || (index >= over && at <= now)) entries.delete(sid);
  }
}

import { timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { SharedJson } from '../store/shared-json';
import { type ChangeFeed, type ChangeSource, expiryOf, type SessionRecord, type Store } from '../store/store';
import { flat, MAX_TOKEN_LENGTH, sessionIdIn, type TokenClaims, tagIn } from '../token/token';
import type { CachePolicy } from './cache-options';
import { ChangeLog } from './change-log';

/** A call to the store whose answer may be kept: what was known when it was made. */
export interface Ticket {
  readonly source: ChangeSource;
  /** When it was made, by `performance.now()`: its answer is as old as that. */
  readonly askedAt: number;
  /** The change log's moment. */
  readonly change: number;
  /** The feed's, at that moment. */
  readonly detours: number;
}

/** A live session as it was found a moment ago. */
export interface KnownSession {
  /** The token that was found good, whose signature need not be verified again. */
  readonly token: Buffer;
  readonly userId: string;
  readonly session: Readonly<SessionRecord>;
  readonly userInfo: SharedJson | null;
  readonly userInfoVersion: number;
  readonly source: ChangeSource;
  /**
   * What to add to `performance.now()` for the store's clock: never behind it, ahead by as long as the answer was in
   * flight.
   */
  readonly clockOffset: number;
  /** When it has to be asked for again, by `performance.now()`. */
  readonly until: number;
  /** When a use of it has to slide it, by `performance.now()`; never while a call for that is in flight. */
  slideAt: number;
}

/** A live session as the store has just given it. */
export interface CheckedSession extends Pick<KnownSession, 'userId' | 'session' | 'userInfo' | 'userInfoVersion'> {
  /** The store's clock when it answered. */
  readonly now: number;
}

/** Is called when the cache begins, or ceases, to work. */
export interface CacheWatcher {
  down(cause: unknown): void;
  up(): void;
}

/** How a near cache does. */
export interface CacheStats {
  /** Sessions that are kept; some may be too old to be used. */
  entries: number;
  /** How often a session was answered from memory. */
  hits: number;
  /** How often the store was asked for one. */
  misses: number;
  /**
   * Whether the changes to every user arrive now. Of users whose changes may be missed, nothing is kept or answered
   * from memory.
   */
  isUp: boolean;
}

/**
 * Keeps the live sessions that this process has just checked, to answer for them without asking the store again.
 *
 * A session is answered from here only while it is known that no change to it can have been missed: its source of
 * changes is complete, and no change was announced since before the store was asked. And never longer than `maxAgeMs`
 * after that, nor beyond its expiry: what was left of it by the store's clock, less what has passed by the monotonic
 * one.
 */
export class NearCache {
  readonly #policy: CachePolicy;
  readonly #slideEveryMs: number;
  readonly #changes = new ChangeLog();
  readonly #feed: ChangeFeed;
  /** Of each user, by the tag, the sessions by their ids. */
  readonly #users: LRUCache<string, Map<string, KnownSession>>;
  #hits = 0;
  #misses = 0;
  #isUp = false;
  #isClosed = false;

  /** @returns `null` for a store whose changes can't be followed, or need not be. */
  static on(store: Store, policy: CachePolicy, slideEveryMs: number, watcher: CacheWatcher): NearCache | null {
    return store.follow === undefined ? null : new NearCache(store as FollowableStore, policy, slideEveryMs, watcher);
  }

  private constructor(store: FollowableStore, policy: CachePolicy, slideEveryMs: number, watcher: CacheWatcher) {
    this.#policy = policy;
    this.#slideEveryMs = slideEveryMs;
    this.#users = new LRUCache({ maxSize: policy.maxEntries, sizeCalculation: (sessions) => sessions.size });
    const follower = {
      changed: (tag: string) => this.changed(tag),
      lost: (source: ChangeSource) => this.#forgetAllOf(source),
      completenessChanged: (outcome: { isComplete: true } | { isComplete: false; cause: unknown }) => {
        if (this.#isClosed) return;
        this.#isUp = outcome.isComplete;
        if (outcome.isComplete) watcher.up();
        else watcher.down(outcome.cause);
      },
    };
    this.#feed = store.follow(follower, { heartbeatMs: policy.heartbeatMs });
  }

  get stats(): CacheStats {
    return { entries: this.#users.calculatedSize, hits: this.#hits, misses: this.#misses, isUp: this.#isUp };
  }

  /**
   * The session of a token, when that is known without asking the store. `now` is `performance.now()`. Verifies no
   * signature: it is the very token that was found good.
   */
  find(token: string, now: number): KnownSession | null {
    const known = this.#users.get(tagIn(token))?.get(sessionIdIn(token));
    if (known === undefined || !isCurrent(known, now) || !isToken(token, known.token)) return null;
    this.#hits++;
    return known;
  }

  /** To be called before the store is asked for a session of this user; `null` when the answer can't be kept. */
  ticketFor(tag: string): Ticket | null {
    this.#misses++;
    const askedAt = performance.now();
    const source = this.#feed.sourceOf(tag);
    if (source === null) return null;
    return { source, askedAt, change: this.#changes.now, detours: this.#feed.detours };
  }

  /**
   * Keeps the session that the store has given for this token, unless it may have changed since the store was asked.
   * Only for the very token that the record holds: how long any other one is good is for the store to judge at each
   * use.
   */
  keep(ticket: Ticket, token: string, claims: TokenClaims, checked: CheckedSession): void {
    const { source, askedAt, change, detours } = ticket;
    const { userId, session, now, userInfo, userInfoVersion } = checked;
    // Of two tokens made in one millisecond, one may prove less.
    const isHeld = claims.gen === session.gen && claims.mintedAt === session.mintedAt;
    if (!isHeld || claims.provedAt !== session.provedAt) return;
    // A text cut out of a header keeps all of the header in memory.
    const [tag, sid] = [flat(claims.tag), flat(claims.sid)];
    if (this.#changes.hasChanged(tag, change)) return;
    // Lost in between, or the user's sessions are on another server by now, or may be.
    if (this.#feed.sourceOf(tag) !== source || this.#feed.detours !== detours) return;
    const clockOffset = now - askedAt;
    const slideDueAt = Math.min(session.seenAt, now) + Math.min(this.#slideEveryMs, session.ttlMs / 2);
    const known = {
      token: bytesOf(token),
      userId,
      session: { ...session, sid },
      userInfo,
      userInfoVersion,
      source,
      clockOffset,
      until: Math.min(askedAt + this.#policy.maxAgeMs, expiryOf(session) - clockOffset),
      slideAt: slideDueAt - clockOffset,
    };
    const sessions = this.#users.get(tag);
    if (sessions?.has(sid)) sessions.set(sid, known);
    else this.#users.set(tag, new Map([...this.#othersOf(sessions, askedAt), [sid, known]]));
  }

  /** Drops what is kept of a user who has changed, or may have; an answer in flight is not kept either. */
  changed(tag: string): void {
    this.#changes.record(tag);
    this.#users.delete(tag);
  }

  close(): void {
    this.#isClosed = true;
    this.#isUp = false;
    this.#feed.close();
    this.#users.clear();
  }

  /** A user's other sessions that are good for something, the latest of them where there are too many. */
  #othersOf(sessions: Map<string, KnownSession> | undefined, now: number): [string, KnownSession][] {
    const others = [...(sessions ?? [])].filter(([, other]) => isCurrent(other, now));
    return others.slice(Math.max(0, others.length + 1 - this.#policy.maxEntries));
  }

  #forgetAllOf(source: ChangeSource): void {
    for (const [tag, sessions] of [...this.#users.entries()]) {
      const others = [...sessions].filter(([, known]) => known.source !== source);
      if (others.length === 0) this.#users.delete(tag);
      else if (others.length < sessions.size) this.#users.set(tag, new Map(others));
    }
  }
}

type FollowableStore = Store & Required<Pick<Store, 'follow'>>;

function isCurrent({ until, source }: KnownSession, now: number): boolean {
  return now < until && now < source.completeUntil;
}

/**
 * Room for the token that is compared, which may be any text of that length: up to 3 bytes for each of its characters.
 */
const given = Buffer.allocUnsafeSlow(3 * MAX_TOKEN_LENGTH);
/** The part of it that holds a token, by the length of that. */
const tokens = Array.from({ length: MAX_TOKEN_LENGTH + 1 }, (_, length) => given.subarray(0, length));

/** In constant time, as signatures are compared: the id in front of it, by which it was found, is no secret. */
function isToken(token: string, known: Buffer): boolean {
  const { length } = known;
  return token.length === length && given.write(token) === length && timingSafeEqual(tokens[length] as Buffer, known);
}

/** In memory of its own, which goes with it: Node's pool would keep thousands of bytes for the hundred of a token. */
function bytesOf(token: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(token.length);
  bytes.write(token, 'latin1');
  return bytes;
}

import { LRUCache } from 'lru-cache';
import type { SharedUser } from '../store/shared-user';
import {
  type ChangeFeed,
  type ChangeFollower,
  type ChangeSource,
  expiryOf,
  type SessionRecord,
  type Store,
} from '../store/store';
import { flat, type TokenClaims, tagIn } from '../token/token';
import type { CachePolicy } from './cache-options';

/** Groups of users whose changes are counted together: a number for each pair of ASCII characters. */
const GROUPS = 128 * 128;

/** A call to the store whose answer may be kept, and the state when it was made. */
export interface Ticket {
  readonly source: ChangeSource;
  /** When the call was made, by `performance.now()`. Its answer is as old as that. */
  readonly askedAt: number;
  /** The changes to the user's group at that moment. */
  readonly changes: number;
  /** The feed's count at that moment. */
  readonly askRedirections: number;
}

/** A live session from a recent answer of the store. */
export interface KnownSession {
  readonly user: SharedUser;
  readonly session: Readonly<SessionRecord>;
  readonly source: ChangeSource;
  /**
   * The offset from `performance.now()` to the store's clock: never behind it, and ahead by the time that the answer
   * was in flight.
   */
  readonly clockOffset: number;
  /** When the store must be asked again, by `performance.now()`. */
  readonly until: number;
  /** When a use must slide the session, by `performance.now()`. */
  slideAt: number;
}

interface CheckedSession extends Pick<KnownSession, 'user' | 'session'> {
  /** The store's clock when it answered. */
  readonly now: number;
}

/** The part of a store that a cache needs. */
export type FollowableStore = Required<Pick<Store, 'follow'>>;

/** Is called when the cache starts or stops to work. */
interface CacheWatcher {
  down(cause: unknown): void;
  up(): void;
}

/** The counts of a near cache. */
export interface CacheStats {
  /** Sessions in the cache; some may be too old for use. */
  entries: number;
  /** Answers from memory. */
  hits: number;
  /** Answers from the store. */
  misses: number;
  /**
   * Whether the changes to all users arrive now. The cache keeps and answers nothing about users whose changes may be
   * missed.
   */
  isUp: boolean;
}

/**
 * Keeps the live sessions that this process has just checked, and answers for them without asking the store.
 *
 * It answers only while no change to the session can have been missed: the session's source of changes is complete, and
 * no change was announced since before the store was asked. It answers never longer than `maxAgeMs` after that, nor
 * beyond the expiry: the time left by the store's clock, less the time passed by the monotonic clock.
 */
export class NearCache {
  readonly #policy: CachePolicy;
  readonly #slideEveryMs: number;
  /**
   * Counts the changes to each group of users, see {@link groupOf}. An answer in flight at a change to its group is not
   * kept: it may be older.
   */
  readonly #changes = new Uint32Array(GROUPS);
  readonly #feed: ChangeFeed;
  /**
   * By the user's tag, the sessions by their verified tokens. A token is found by the hash of all its characters, which
   * V8 seeds at random in each process: the time of a look says nothing about how much of a guessed token is right.
   */
  readonly #users: LRUCache<string, Map<string, KnownSession>>;
  #hits = 0;
  #misses = 0;
  #isUp = false;

  constructor(store: FollowableStore, policy: CachePolicy, slideEveryMs: number, watcher: CacheWatcher) {
    this.#policy = policy;
    this.#slideEveryMs = slideEveryMs;
    this.#users = new LRUCache({ maxSize: policy.maxEntries, sizeCalculation: (sessions) => sessions.size });
    const follower: ChangeFollower = {
      changed: (tag) => this.changed(tag),
      completenessChanged: (outcome) => {
        this.#isUp = outcome.isComplete;
        if (outcome.isComplete) return watcher.up();
        for (const tag of [...this.#users.keys()]) if (this.#feed.sourceOf(tag) === null) this.#users.delete(tag);
        watcher.down(outcome.cause);
      },
    };
    this.#feed = store.follow(follower, { heartbeatMs: policy.heartbeatMs });
  }

  get stats(): CacheStats {
    return { entries: this.#users.calculatedSize, hits: this.#hits, misses: this.#misses, isUp: this.#isUp };
  }

  /**
   * The session of a token that is in the cache. `now` is `performance.now()`. Verifies no signature, since the token
   * equals the verified one.
   */
  find(token: string, now: number): KnownSession | null {
    const known = this.#users.get(tagIn(token))?.get(token);
    if (known === undefined || !isCurrent(known, now)) return null;
    this.#hits++;
    return known;
  }

  /** Call it before asking the store for a session of this user. `null`: the answer can't be kept. */
  ticketFor(tag: string): Ticket | null {
    this.#misses++;
    const askedAt = performance.now();
    const source = this.#feed.sourceOf(tag);
    if (source === null) return null;
    const changes = this.#changes[groupOf(tag)] as number;
    return { source, askedAt, changes, askRedirections: this.#feed.askRedirections };
  }

  /** Whether a request that comes now may take the answer of a call in flight: as {@link find}, were it here. */
  mayShare(ticket: Ticket, tag: string): boolean {
    return performance.now() < ticket.askedAt + this.#policy.maxAgeMs && this.#isUnchanged(ticket, tag);
  }

  /**
   * Keeps the store's session for this token, unless the session may have changed since the store was asked. Keeps only
   * the very token that the record holds: the store must judge any other at each use.
   */
  keep(ticket: Ticket, token: string, claims: TokenClaims, checked: CheckedSession): void {
    const { source, askedAt } = ticket;
    const { user, session, now } = checked;
    // Of two tokens made in one millisecond, one may prove less.
    const isHeld = claims.gen === session.gen && claims.mintedAt === session.mintedAt;
    if (!isHeld || claims.provedAt !== session.provedAt) return;
    if (!this.#isUnchanged(ticket, claims.tag)) return;
    // A substring of a header, or of Redis's answer, keeps all of it in memory.
    const [tag, sid] = [flat(claims.tag), flat(claims.sid)];
    const clockOffset = now - askedAt;
    const slideDueAt = Math.min(session.seenAt, now) + this.#slideIntervalOf(session);
    const known = {
      user,
      session: { ...session, sid },
      source,
      clockOffset,
      until: Math.min(askedAt + this.#policy.maxAgeMs, expiryOf(session) - clockOffset),
      slideAt: slideDueAt - clockOffset,
    };
    const sessions = this.#users.get(tag);
    if (sessions?.has(token)) sessions.set(token, known);
    else this.#users.set(tag, new Map([...this.#othersOf(sessions, sid, askedAt), [flat(token), known]]));
  }

  /** Has a use slide the session again after an interval, in case the answer of the slide that begins is not kept. */
  slideBegins(known: KnownSession): void {
    known.slideAt = performance.now() + this.#slideIntervalOf(known.session);
  }

  /** Drops the sessions of a user that may have changed. An answer in flight is not kept either. */
  changed(tag: string): void {
    (this.#changes[groupOf(tag)] as number)++;
    this.#users.delete(tag);
  }

  close(): void {
    this.#isUp = false;
    this.#feed.close();
    this.#users.clear();
  }

  #slideIntervalOf({ ttlMs }: SessionRecord): number {
    return Math.min(this.#slideEveryMs, ttlMs / 2);
  }

  /** Whether no change to the user's sessions can have been missed since the store was asked. */
  #isUnchanged({ source, changes, askRedirections }: Ticket, tag: string): boolean {
    if (this.#changes[groupOf(tag)] !== changes) return false;
    // Else the source was lost meanwhile, or the user's sessions may be on another server by now.
    return this.#feed.sourceOf(tag) === source && this.#feed.askRedirections === askRedirections;
  }

  /** The other usable sessions of a user; the newest where there are too many. */
  #othersOf(sessions: Map<string, KnownSession> | undefined, sid: string, now: number): [string, KnownSession][] {
    const others = [...(sessions ?? [])].filter(([, other]) => other.session.sid !== sid && isCurrent(other, now));
    return others.slice(Math.max(0, others.length + 1 - this.#policy.maxEntries));
  }
}

/** The group of a user: by the first two characters of the tag, which is a hash. */
function groupOf(tag: string): number {
  return tag.charCodeAt(0) * 128 + tag.charCodeAt(1);
}

function isCurrent({ until, source }: KnownSession, now: number): boolean {
  return now < until && now < source.completeUntil;
}

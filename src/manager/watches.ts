import { setMaxListeners } from 'node:events';
import { kindOf } from '../errors/arguments';
import { isUnavailable, SessionError, sessionEnded, storeClosed } from '../errors/session-error';
import type { ChangeFeed, ChangeFollower, ChangeSource, SessionState, Store } from '../store/store';
import { flat, isSessionId, isVisitor, parseToken, type SessionName, type SigningKeys, tagOf } from '../token/token';
import type { SessionEmitter } from './session-events';
import { foreignRecord } from './session-lookup';

/** Milliseconds between two checks for due users. An expiry can be noticed that late. */
const TICK_MS = 1000;

/** Milliseconds between two calls for a user while announcements may be missed. */
const ASK_AGAIN_MS = 5000;

/**
 * The most milliseconds between two calls for a user, because evicted keys and keys deleted by hand are not announced.
 * Half of it is random, so that the calls for all users do not come at once.
 */
const LOOK_AGAIN_MS = 300_000;

/** The most calls to the store in flight, each for one user. */
const MAX_IN_FLIGHT = 100;

/** The events of this process after which a session may have ended. */
const ENDINGS = ['logout', 'replaced', 'revoked', 'banned', 'reused', 'expired-on-use'] as const;

/** A session to pass to `watch`: that of a request, or of a check. */
export interface WatchableSession {
  readonly id: string | null;
  readonly user: { readonly id: string } | null;
}

/** A live session that this process watches. */
export interface WatchedSession {
  userId: string;
  sessionId: string;
  /** The number of signals that watch it. */
  signals: number;
}

interface Watched {
  readonly controllers: Set<AbortController>;
  /** When it expires without another request, by the store's clock; 0 for unknown. */
  expiresAt: number;
}

/** What a signal watches. */
interface WatchTarget {
  user: WatchedUser;
  sid: string;
  watched: Watched;
  controller: AbortController;
}

interface WatchedUser {
  readonly tag: string;
  /** `null` until the store has answered. */
  userId: string | null;
  readonly sessions: Map<string, Watched>;
  /** The source that announces all changes after the last answer; `null` while some may be missed. */
  source: ChangeSource | null;
  isAsking: boolean;
  /** Whether the last answer, or the one in flight, may be too old. */
  isOutdated: boolean;
  /** When the store was asked last, by `performance.now()`. */
  askedAt: number;
  /** When the next call is due, by the same clock: at the latest when the first session expires. */
  dueAt: number;
}

interface WatchesSettings {
  store: Pick<Store, 'states' | 'follow'>;
  /** See the option `cache.heartbeatMs`. With the same value, a near cache shares the connection. */
  heartbeatMs: number;
  events: SessionEmitter;
}

/**
 * Aborts signals when sessions end, in this or another process.
 *
 * The store announces the user of a change. `Watches` then asks the store for the states of this user's watched
 * sessions, with one call in flight and one waiting. Expiries are not announced: `Watches` asks when one is due. While
 * announcements may be missed, it asks every few seconds. Only the store's answer aborts a signal.
 */
export class Watches {
  readonly #settings: WatchesSettings;
  readonly #users = new Map<string, WatchedUser>();
  readonly #targets = new WeakMap<AbortSignal, WatchTarget>();
  /** Users to ask for at once, and users who wait while the store is unavailable. */
  readonly #urgent = new Set<WatchedUser>();
  readonly #waiting = new Set<WatchedUser>();
  #inFlight = 0;
  /** Whether the store was unavailable since the last tick. Waiting users are not asked for then. */
  #isPaused = false;
  #feed: ChangeFeed | null = null;
  /** From the first watch on. */
  #ticker: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(settings: WatchesSettings) {
    this.#settings = settings;
  }

  /**
   * Returns a signal that aborts when the session ends. For `null`, it has already aborted.
   *
   * @throws SessionError after {@link close}.
   */
  watch(target: SessionName | null): AbortSignal {
    if (target === null) return AbortSignal.abort(sessionEnded({ reason: 'unknown' }));
    if (this.#isClosed) throw storeClosed();
    const controller = new AbortController();
    const { signal } = controller;
    setMaxListeners(0, signal);
    this.#begin();
    const { tag, sid } = target;
    const user = this.#users.get(tag) ?? newUser(tag);
    this.#users.set(tag, user);
    const watched = user.sessions.get(sid) ?? { controllers: new Set(), expiresAt: 0 };
    user.sessions.set(sid, watched);
    watched.controllers.add(controller);
    this.#targets.set(signal, { user, sid, watched, controller });
    this.#askSoon(user);
    return signal;
  }

  /** Releases a signal, which then no longer aborts. `false` when it was not watched. */
  unwatch(signal: AbortSignal): boolean {
    const target = this.#targets.get(signal);
    if (target === undefined || this.#isClosed) return false;
    const { user, sid, watched, controller } = target;
    if (!watched.controllers.delete(controller)) return false;
    // The session may have ended just now, and be watched once more.
    if (watched.controllers.size === 0 && user.sessions.get(sid) === watched) this.#forget(user, sid);
    return true;
  }

  /** Lists the watched sessions that were live in the store's last answer. */
  list(): WatchedSession[] {
    return [...this.#users.values()].flatMap(({ userId, sessions }) => {
      if (userId === null) return [];
      const live = [...sessions].filter(([, { expiresAt }]) => expiresAt > 0);
      return live.map(([sessionId, { controllers }]) => ({ userId, sessionId, signals: controllers.size }));
    });
  }

  /** Releases all signals, which then no longer abort. */
  close(): void {
    this.#isClosed = true;
    this.#feed?.close();
    clearInterval(this.#ticker);
    this.#users.clear();
    this.#urgent.clear();
    this.#waiting.clear();
  }

  /** Follows the store's changes, from the first watch on. */
  #begin(): void {
    if (this.#ticker !== undefined) return;
    this.#ticker = setInterval(() => this.#tick(), TICK_MS).unref();
    const { store, heartbeatMs, events } = this.#settings;
    for (const name of ENDINGS) events.on(name, ({ userId }) => this.#endedHere(tagOf(userId)));
    const follower: ChangeFollower = {
      changed: (tag) => this.#changed(tag),
      completenessChanged: (outcome) => {
        if (!outcome.isComplete) return events.emit('watch-down', { error: changesMissed(outcome.cause) });
        events.emit('watch-up', {});
        const now = performance.now();
        for (const user of this.#users.values()) user.isOutdated ||= !isCovered(user, now);
        this.#tick();
      },
    };
    this.#feed = store.follow?.(follower, { heartbeatMs }) ?? null;
  }

  /** Asks for a user whose session ended in this process, unless an announcement of it will arrive. */
  #endedHere(tag: string): void {
    const user = this.#users.get(tag);
    if (user !== undefined && !isCovered(user, performance.now())) this.#askSoon(user);
  }

  #changed(tag: string): void {
    const user = this.#users.get(tag);
    if (user !== undefined) this.#askSoon(user);
  }

  /** Asks for a user in a microtask, so that sessions watched in one turn share a call. */
  #askSoon(user: WatchedUser): void {
    user.isOutdated = true;
    this.#urgent.add(user);
    queueMicrotask(() => this.#pump());
  }

  #tick(): void {
    const now = performance.now();
    this.#isPaused = false;
    for (const user of this.#users.values()) {
      if (user.source !== null && !isCovered(user, now)) {
        user.source = null;
        // Not at once: while slots of a Cluster move, each move replaces all sources.
        user.dueAt = Math.min(user.dueAt, user.askedAt + ASK_AGAIN_MS);
      }
      if (!user.isOutdated && now < user.dueAt) continue;
      // A server whose announcements arrive also answers calls: no failure of another one delays its users.
      if (user.source === null) this.#waiting.add(user);
      else this.#urgent.add(user);
    }
    this.#pump();
  }

  #pump(): void {
    while (!this.#isClosed && this.#inFlight < MAX_IN_FLIGHT) {
      const user = first(this.#urgent) ?? (this.#isPaused ? undefined : first(this.#waiting));
      if (user === undefined) return;
      this.#urgent.delete(user);
      this.#waiting.delete(user);
      if (!user.isAsking && user.sessions.size > 0) void this.#ask(user);
    }
  }

  async #ask(user: WatchedUser): Promise<void> {
    const { tag, sessions } = user;
    user.isAsking = true;
    user.isOutdated = false;
    user.askedAt = performance.now();
    this.#inFlight++;
    try {
      const source = this.#feed?.sourceOf(tag) ?? null;
      const askRedirections = this.#feed?.askRedirections;
      const sids = [...sessions.keys()];
      const { userId, now, states } = await this.#settings.store.states(tag, sids);
      if (this.#isClosed) return;
      if (userId !== null && tagOf(userId) !== tag) throw foreignRecord();
      user.userId = userId;
      // If the source changed while the call was in flight, the answer may predate changes that were not announced.
      const isOfSource = this.#feed?.sourceOf(tag) === source && this.#feed?.askRedirections === askRedirections;
      user.source = isOfSource ? source : null;
      const againMs = user.source === null ? ASK_AGAIN_MS : LOOK_AGAIN_MS * (0.5 + Math.random() / 2);
      user.dueAt = performance.now() + againMs;
      if (user.isOutdated) this.#urgent.add(user);
      for (const [index, sid] of sids.entries()) this.#judge(user, sid, states[index] as SessionState, now);
    } catch (error) {
      if (this.#isClosed) return;
      // An unreachable store ends no session: the call is repeated.
      if (isUnavailable(error)) this.#isPaused = true;
      else this.#settings.events.emit('watch-failed', { sessionIds: [...sessions.keys()], error });
      user.source = null;
      user.dueAt = performance.now() + ASK_AGAIN_MS;
    } finally {
      user.isAsking = false;
      this.#inFlight--;
      this.#pump();
    }
  }

  #judge(user: WatchedUser, sid: string, state: SessionState, now: number): void {
    const watched = user.sessions.get(sid);
    if (watched === undefined) return;
    if (state.isLive) {
      watched.expiresAt = state.expiresAt;
      user.dueAt = Math.min(user.dueAt, performance.now() + state.expiresAt - now);
      return;
    }
    // The store deletes an expired session's record after a while, and then gives no reason.
    const hasExpired = state.reason === 'unknown' && watched.expiresAt > 0 && watched.expiresAt <= now;
    const { reason, message } = state;
    const error = sessionEnded({ reason: hasExpired ? 'expired' : reason, ...(message !== null && { message }) });
    this.#forget(user, sid);
    // A listener may release other signals, or close.
    for (const controller of watched.controllers) {
      if (this.#isClosed) return;
      watched.controllers.delete(controller);
      controller.abort(error);
    }
  }

  #forget(user: WatchedUser, sid: string): void {
    user.sessions.delete(sid);
    if (user.sessions.size === 0) this.#users.delete(user.tag);
  }
}

/**
 * The session to watch; `null` for one that can't be live: a string that is not a user's signed token, or the session
 * of a request without a user.
 *
 * @throws TypeError for a value that is neither a token nor a session.
 */
export function watchTarget(session: unknown, keys: SigningKeys): SessionName | null {
  if (typeof session === 'string') {
    const claims = parseToken(session, keys);
    return claims === null || isVisitor(claims) ? null : { tag: flat(claims.tag), sid: flat(claims.sid) };
  }
  if (typeof session !== 'object' || session === null || !('id' in session) || !('user' in session)) {
    throw new TypeError(`session must be a session or a token, got ${kindOf(session)}`);
  }
  const { id, user } = session as WatchableSession;
  if (id === null || user === null) return null;
  if (typeof id !== 'string' || typeof user?.id !== 'string') {
    throw new TypeError('session must have an id, and a user with an id');
  }
  return isSessionId(id) ? { tag: tagOf(user.id), sid: flat(id) } : null;
}

function newUser(tag: string): WatchedUser {
  return {
    tag,
    userId: null,
    sessions: new Map(),
    source: null,
    isAsking: false,
    isOutdated: false,
    askedAt: Number.NEGATIVE_INFINITY,
    dueAt: Number.POSITIVE_INFINITY,
  };
}

function changesMissed(cause: unknown): SessionError {
  const message = 'changes to sessions may be missed: watched ones are asked for every few seconds';
  return new SessionError('ERR_STORE_UNAVAILABLE', message, { cause });
}

/** Whether every change to the user since the last answer is announced. */
function isCovered({ source }: WatchedUser, now: number): boolean {
  return source !== null && now < source.completeUntil;
}

function first<Value>(values: ReadonlySet<Value>): Value | undefined {
  return values.values().next().value;
}

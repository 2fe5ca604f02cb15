import { setMaxListeners } from 'node:events';
import { kindOf } from '../errors/arguments';
import { isUnavailable, SessionError, sessionEnded } from '../errors/session-error';
import type { ChangeFeed, ChangeSource, SessionState, Store } from '../store/store';
import { flat, isSessionId, isVisitor, parseToken, type SigningKeys, tagOf } from '../token/token';
import type { SessionEmitter } from './session-events';
import { foreignRecord } from './session-lookup';

/** Milliseconds between two looks at what is due: an expiry is noticed that late. */
const TICK_MS = 1000;

/** Milliseconds after which a session is asked for again while changes to it may be missed. */
const ASK_AGAIN_MS = 5000;

/**
 * Milliseconds after which a session is asked for again at the latest, whatever was announced: keys that were evicted
 * or deleted by hand end without an announcement. Half of it is left to chance, lest all are asked for at once.
 */
const LOOK_AGAIN_MS = 300_000;

/** Users that are asked for at a time. */
const MAX_IN_FLIGHT = 100;

/** The events of this process after which a session may have ended. */
const ENDINGS = ['logout', 'replaced', 'revoked', 'banned', 'reused', 'expired-on-use'] as const;

/** A session as `watch` takes it: that of a request, or of a check. */
export interface WatchableSession {
  readonly id: string | null;
  readonly user: { readonly id: string } | null;
}

/** A session that is watched in this process, for presence. */
export interface WatchedSession {
  userId: string;
  sessionId: string;
  /** How many signals watch it. */
  signals: number;
}

/** Which session to watch. */
interface Target {
  tag: string;
  sid: string;
}

interface Watched {
  readonly controllers: Set<AbortController>;
  /** When it ends unless it is seen again, by the store's clock; 0 while that is not known. */
  expiresAt: number;
}

/** What is watched of one user. */
interface WatchedUser {
  readonly tag: string;
  /** Known once the store has answered. */
  userId: string | null;
  readonly sessions: Map<string, Watched>;
  /** The source by which all later changes arrive; `null` while some may be missed. */
  source: ChangeSource | null;
  isAsking: boolean;
  /** Whether the answer in flight may be too old. */
  isOutdated: boolean;
  /** When the store was asked last, by `performance.now()`. */
  askedAt: number;
  /** When the store is to be asked at the latest, by the same clock: the first session expires. */
  dueAt: number;
}

interface WatchesSettings {
  /** What is asked for the states of sessions. */
  store: Pick<Store, 'states'>;
  /** What reports changes: the store itself, not what wraps it. */
  followed: Pick<Store, 'follow'>;
  /** See the option `cache.heartbeatMs`: with the same one, a near cache shares its connection. */
  heartbeatMs: number;
  events: SessionEmitter;
}

/**
 * Aborts signals when sessions end, wherever that happens.
 *
 * The store announces that a user has changed; the store is then asked how this user's watched sessions are, with one
 * call in flight and one to follow. Nobody announces an expiry: the store is asked when it is due. While announcements
 * may be missed, the store is asked every few seconds. A signal aborts only on the store's word.
 */
export class Watches {
  readonly #settings: WatchesSettings;
  readonly #users = new Map<string, WatchedUser>();
  readonly #targets = new WeakMap<AbortSignal, Target & { controller: AbortController }>();
  /** Users to ask for at once, and those whose turn comes when no call fails. */
  readonly #urgent = new Set<WatchedUser>();
  readonly #waiting = new Set<WatchedUser>();
  #inFlight = 0;
  #isPumpDue = false;
  /** Until when, by `performance.now()`, no waiting user is asked for: a call has just failed. */
  #pausedUntil = 0;
  #feed: ChangeFeed | null = null;
  #ticker: NodeJS.Timeout | null = null;
  #hasBegun = false;
  #isClosed = false;

  constructor(settings: WatchesSettings) {
    this.#settings = settings;
  }

  /** A signal that aborts when the session ends; for `null` it has aborted already. */
  watch(target: Target | null): AbortSignal {
    if (target === null) return AbortSignal.abort(sessionEnded({ reason: 'unknown' }));
    const controller = new AbortController();
    const { signal } = controller;
    setMaxListeners(0, signal);
    if (this.#isClosed) return signal;
    this.#begin();
    const { tag, sid } = target;
    this.#targets.set(signal, { tag, sid, controller });
    const user = this.#users.get(tag) ?? newUser(tag);
    this.#users.set(tag, user);
    const watched = user.sessions.get(sid) ?? { controllers: new Set(), expiresAt: 0 };
    user.sessions.set(sid, watched);
    watched.controllers.add(controller);
    this.#askSoon(user);
    return signal;
  }

  /** Releases a signal: it does not abort any more. `false`: it watches nothing. */
  unwatch(signal: AbortSignal): boolean {
    const target = this.#targets.get(signal);
    const user = target && this.#users.get(target.tag);
    const watched = target && user?.sessions.get(target.sid);
    if (target === undefined || user === undefined || !watched?.controllers.delete(target.controller)) return false;
    this.#targets.delete(signal);
    if (watched.controllers.size === 0) this.#forget(user, target.sid);
    return true;
  }

  /** The sessions that are watched and were live when the store was asked last. */
  list(): WatchedSession[] {
    return [...this.#users.values()].flatMap(({ userId, sessions }) => {
      if (userId === null) return [];
      const live = [...sessions].filter(([, { expiresAt }]) => expiresAt > 0);
      return live.map(([sessionId, { controllers }]) => ({ userId, sessionId, signals: controllers.size }));
    });
  }

  /** Ends the watch over all sessions. Their signals do not abort any more. */
  close(): void {
    this.#isClosed = true;
    this.#feed?.close();
    if (this.#ticker !== null) clearInterval(this.#ticker);
    this.#users.clear();
    this.#urgent.clear();
    this.#waiting.clear();
  }

  /** Follows the store's changes, once anything is watched. */
  #begin(): void {
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS).unref();
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    const { followed, heartbeatMs, events } = this.#settings;
    for (const name of ENDINGS) events.on(name, ({ userId }) => this.#endedHere(tagOf(userId)));
    const follower = {
      changed: (tag: string) => this.#changed(tag),
      // A user of a lost source is asked for again in time: its `completeUntil` is over.
      lost: () => undefined,
      completenessChanged: (outcome: { isComplete: true } | { isComplete: false; cause: unknown }) => {
        if (this.#isClosed) return;
        if (!outcome.isComplete) return events.emit('watch-down', { error: changesMissed(outcome.cause) });
        events.emit('watch-up', {});
        this.#askAllUncovered();
      },
    };
    this.#feed = followed.follow?.(follower, { heartbeatMs }) ?? null;
  }

  #askAllUncovered(): void {
    const now = performance.now();
    for (const user of this.#users.values()) {
      if (isCovered(user, now)) continue;
      user.isOutdated = true;
      this.#waiting.add(user);
    }
    this.#pump();
  }

  /** Where announcements arrive, this one does, too. */
  #endedHere(tag: string): void {
    const user = this.#users.get(tag);
    if (user !== undefined && !isCovered(user, performance.now())) this.#askSoon(user);
  }

  #changed(tag: string): void {
    const user = this.#users.get(tag);
    if (user !== undefined) this.#askSoon(user);
  }

  /** Asks for a user when this turn is over, so that sessions watched in one turn share a call. */
  #askSoon(user: WatchedUser): void {
    user.isOutdated = true;
    this.#urgent.add(user);
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    queueMicrotask(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  #tick(): void {
    const now = performance.now();
    if (this.#users.size === 0 && this.#ticker !== null) {
      clearInterval(this.#ticker);
      this.#ticker = null;
    }
    for (const user of this.#users.values()) {
      const mayBeMissed = !isCovered(user, now) && now >= user.askedAt + ASK_AGAIN_MS;
      if (mayBeMissed || now >= user.dueAt) this.#waiting.add(user);
    }
    this.#pump();
  }

  #pump(): void {
    while (!this.#isClosed && this.#inFlight < MAX_IN_FLIGHT) {
      const isPaused = performance.now() < this.#pausedUntil;
      const user = first(this.#urgent) ?? (isPaused ? undefined : first(this.#waiting));
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
      const detours = this.#feed?.detours;
      const sids = [...sessions.keys()];
      const { userId, now, states } = await this.#settings.store.states(tag, sids);
      if (this.#isClosed) return;
      if (userId !== null && tagOf(userId) !== tag) throw foreignRecord();
      user.userId = userId;
      // An answer that was in flight while its source changed is of no known source.
      const isOfSource = this.#feed?.sourceOf(tag) === source && this.#feed?.detours === detours;
      user.source = isOfSource ? source : null;
      user.dueAt = performance.now() + LOOK_AGAIN_MS * (0.5 + Math.random() / 2);
      for (const [index, sid] of sids.entries()) this.#judge(user, sid, states[index] as SessionState, now);
    } catch (error) {
      if (this.#isClosed) return;
      // Out of reach is no end: it is asked for again.
      if (!isUnavailable(error))
        this.#settings.events.emit('watch-failed', { sessionIds: [...sessions.keys()], error });
      user.source = null;
      user.dueAt = performance.now() + ASK_AGAIN_MS;
      this.#pausedUntil = performance.now() + TICK_MS;
      if (user.isOutdated) this.#waiting.add(user);
      user.isOutdated = false;
    } finally {
      user.isAsking = false;
      this.#inFlight--;
      if (user.isOutdated) this.#urgent.add(user);
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
    // The store forgets after a while that a session has expired.
    const hasExpired = state.reason === 'unknown' && watched.expiresAt > 0 && watched.expiresAt <= now;
    const error = sessionEnded(hasExpired ? { reason: 'expired' } : state);
    this.#forget(user, sid);
    for (const controller of watched.controllers) controller.abort(error);
  }

  #forget(user: WatchedUser, sid: string): void {
    user.sessions.delete(sid);
    if (user.sessions.size === 0) this.#users.delete(user.tag);
  }
}

/**
 * The session to watch; `null` for one that can't be live: a value that is no user's token of ours, or a request that
 * is not signed in.
 *
 * @throws TypeError for what is neither a token nor a session.
 */
export function watchTarget(session: unknown, keys: SigningKeys): Target | null {
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
  return isSessionId(id) ? { tag: tagOf(user.id), sid: id } : null;
}

function newUser(tag: string): WatchedUser {
  const never = Number.NEGATIVE_INFINITY;
  return {
    tag,
    userId: null,
    sessions: new Map(),
    source: null,
    isAsking: false,
    isOutdated: false,
    askedAt: never,
    dueAt: Number.POSITIVE_INFINITY,
  };
}

/** Why the ends of sessions may be noticed late. */
function changesMissed(cause: unknown): SessionError {
  const message = 'changes to sessions may be missed: watched ones are asked for every few seconds';
  return new SessionError('ERR_STORE_UNAVAILABLE', message, { cause });
}

/** Whether every change to the user since the last answer has arrived, or will. */
function isCovered({ source }: WatchedUser, now: number): boolean {
  return source !== null && now < source.completeUntil;
}

function first<Value>(values: ReadonlySet<Value>): Value | undefined {
  return values.values().next().value;
}

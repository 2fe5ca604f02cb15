import { SessionError } from '../errors/session-error';
import type { KnownSession, NearCache } from '../cache/near-cache';
import type { SessionEmitter } from './session-events';
import type { EndedSession, Found, LookOptions, Store, StoredSession } from '../store/store';
import { parseToken, type SigningKeys, type TokenParts, tagOf } from '../token/token';

/** What a look at a token is for: a use slides the session, a reading doesn't. */
export type Purpose = 'read' | 'use';

export interface LookupSettings {
  store: Store;
  keys: SigningKeys;
  slideEveryMs: number;
  cache: NearCache | null;
  events: SessionEmitter;
}

/**
 * Finds the session of a token: in the near cache where there is one that knows it, else in the store, in one call. A token that is not signed
 * is looked for nowhere.
 */
export class SessionLookup {
  readonly #store: Store;
  readonly #keys: SigningKeys;
  readonly #slideEveryMs: number;
  readonly #cache: NearCache | null;
  readonly #events: SessionEmitter;

  constructor({ store, keys, slideEveryMs, cache, events }: LookupSettings) {
    this.#store = store;
    this.#keys = keys;
    this.#slideEveryMs = slideEveryMs;
    this.#cache = cache;
    this.#events = events;
  }

  /** The session of a token, when that is known without asking the store. */
  known(token: unknown, purpose: Purpose): StoredSession | null {
    if (this.#cache === null || typeof token !== 'string') return null;
    const time = performance.now();
    const known = this.#cache.find(token, time);
    if (known === null) return null;
    if (purpose === 'use' && time >= known.slideAt) void this.#slideAside(token, known);
    const { userId, session, userInfo, clockOffset } = known;
    return { userId, session, userInfo, now: Math.floor(time + clockOffset) };
  }

  /** The live session of a token, or what else there is to it. */
  async find(token: unknown, purpose: Purpose, options?: LookOptions): Promise<Found> {
    const known = this.known(token, purpose);
    if (known !== null) return known;
    const parts = parseToken(token, this.#keys);
    return parts === null ? null : this.#ask(token as string, parts, purpose, options);
  }

  /** What the store gave for a token, seen to be of its user. Listeners hear what is news. */
  judge({ tag }: TokenParts, found: Found): Found {
    if (found === null) return null;
    if (tagOf(found.userId) !== tag) throw foreignRecord();
    if (found.session === null && found.isDetected) this.#emitDetected(found);
    return found;
  }

  async #ask(token: string, parts: TokenParts, purpose: Purpose, options?: LookOptions): Promise<Found> {
    const { tag, sid } = parts;
    const ticket = this.#cache?.ticketFor(tag) ?? null;
    const asked =
      purpose === 'use'
        ? this.#store.touch(tag, sid, this.#slideEveryMs, options)
        : this.#store.check(tag, sid, options);
    const found = this.judge(parts, await asked);
    const live = liveIn(found);
    // Found dead, it may be known under another token here, or a theft may have ended its successor.
    if (live === null) this.#cache?.changed(tag);
    else if (ticket !== null) this.#cache?.keep(ticket, token, live);
    return found;
  }

  /** Slides a known session while its request goes on. When that fails, the next request asks the store itself. */
  async #slideAside(token: string, known: KnownSession): Promise<void> {
    known.slideAt = Number.POSITIVE_INFINITY;
    const { userId, session } = known;
    const parts = { tag: tagOf(userId), sid: session.sid };
    try {
      // No theft is seen in it: it is no request, and the next one asks the store itself.
      const found = await this.#ask(token, parts, 'use', { forgiving: true });
      if (liveIn(found)?.session.sid !== parts.sid) this.#cache?.changed(parts.tag);
    } catch (error) {
      this.#cache?.changed(parts.tag);
      this.#events.emit('slide-failed', { userId, sessionId: session.sid, error });
    }
  }

  #emitDetected({ userId, sid: sessionId, reason, isEndedNow }: EndedSession): void {
    if (reason === 'expired') this.#events.emit('expired-on-use', { userId, sessionId });
    else this.#events.emit('reused', { userId, sessionId, ended: isEndedNow });
  }
}

/** The live session in what was found; `null` when there is none. */
export function liveIn(found: Found): StoredSession | null {
  return found === null || found.session === null ? null : found;
}

/** A reply that belongs to somebody else is an error, not a login: a crossed connection, a proxy, a tampered record. */
export function foreignRecord(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', "the store's answer belongs to another user than the one asked for");
}

import type { KnownSession, NearCache, Ticket } from '../cache/near-cache';
import { type Ending, SessionError } from '../errors/session-error';
import { SharedUser } from '../store/shared-user';
import type {
  EndedSession,
  FoundData,
  ReusePolicy,
  SessionEntries,
  SessionRecord,
  Store,
  StoredSession,
} from '../store/store';
import { flat, isOwner, isVisitor, parseToken, readClaims, type TokenClaims } from '../token/token';
import type { ManagerPolicy } from './manager-options';
import type { SessionEmitter } from './session-events';

/**
 * The purpose of a look-up: a use slides the session and moves it on to a new token, a read doesn't. Data is never in
 * the near cache.
 */
type Purpose = 'read' | 'use' | 'use with data';

/** A live session, with its data if that was asked for. */
type StoredWithData = StoredSession & { data?: SessionEntries };

export interface LiveToken extends Pick<StoredWithData, 'session' | 'now' | 'data'> {
  user: SharedUser;
  /** When the holder of this very token last proved who they are. For a former token, earlier than in the record. */
  provedAt: number;
  /** Whether the store was asked before this look at the token began: by the near cache, or for another request. */
  isFromMemory: boolean;
}

/** {@link LiveToken}, or why there is none. */
type FoundToken = LiveToken | EndedSession | null;

/** A call in flight whose answer the near cache may keep. */
interface SharedCall {
  readonly purpose: 'read' | 'use';
  readonly ticket: Ticket;
  readonly answer: Promise<FoundToken>;
}

/**
 * Accepts a live session whatever generation its record has: where a host names it without a token, and for the rest of
 * a request whose token was judged when the request was opened.
 */
export const ANY_TOKEN: ReusePolicy = { graceMs: Number.MAX_SAFE_INTEGER, onReuse: 'ignore' };

/** Looks up the session of a signed token: in the near cache, or in the store in one call. */
export class SessionLookup {
  readonly #policy: ManagerPolicy<unknown>;
  readonly #store: Store;
  readonly #cache: NearCache | null;
  readonly #events: SessionEmitter;
  /** The latest such call of each token. */
  readonly #shared = new Map<string, SharedCall>();

  constructor(policy: ManagerPolicy<unknown>, store: Store, cache: NearCache | null, events: SessionEmitter) {
    this.#policy = policy;
    this.#store = store;
    this.#cache = cache;
    this.#events = events;
  }

  /** The session of a token that is in the near cache. */
  known(token: unknown, purpose: Purpose): LiveToken | null {
    if (this.#cache === null || typeof token !== 'string' || purpose === 'use with data') return null;
    const time = performance.now();
    const known = this.#cache.find(token, time);
    if (known === null) return null;
    if (purpose === 'use' && time >= known.slideAt) void this.#slideAside(token, known);
    const { user, session, clockOffset } = known;
    // The cache keeps only the very token that the record holds.
    const { provedAt } = session;
    return { user, session, now: Math.floor(time + clockOffset), provedAt, isFromMemory: true };
  }

  /**
   * The live session of a user's token, or why there is none. Never answered from the near cache.
   *
   * @param claims those of the token, where the caller has verified it; `null` when it is not a user's.
   */
  ask(
    token: unknown,
    purpose: Purpose,
    claims = this.claimsOf(token),
    reuse = this.#policy.reuse,
  ): Promise<FoundToken> {
    if (claims === null) return Promise.resolve(null);
    return this.#ask(token as string, claims, purpose, this.#ticketFor(claims), reuse);
  }

  /**
   * {@link ask}, once for all who ask for a token that the near cache doesn't have: the others take the answer of the
   * first. Who comes after a change of the session asks anew, and a use takes no answer of a read.
   */
  askOnce(token: unknown, purpose: 'read' | 'use', claims = this.claimsOf(token)): Promise<FoundToken> {
    if (claims === null || this.#cache === null) return this.ask(token, purpose, claims);
    const text = token as string;
    const shared = this.#shared.get(text);
    if (shared !== undefined && (purpose === 'read' || shared.purpose === 'use')) {
      if (this.#cache.mayShare(shared.ticket, claims.tag)) return this.#answerOf(shared, text, purpose);
    }
    const ticket = this.#ticketFor(claims);
    const answer = this.#ask(text, claims, purpose, ticket);
    if (ticket === null) return answer;
    this.#shared.set(text, { purpose, ticket, answer });
    // May forget a later call instead, which then has no company.
    const forget = () => this.#shared.delete(text);
    answer.then(forget, forget);
    return answer;
  }

  /** The live session of a visitor's token; `null` for none. Never kept in the near cache. */
  askVisitor(token: unknown, purpose: Purpose): Promise<StoredWithData | null> {
    const claims = parseToken(token, this.#policy.keys);
    if (claims === null || !isVisitor(claims)) return Promise.resolve(null);
    return this.liveOf(claims, this.#look(claims, purpose, this.#policy.reuse));
  }

  /**
   * Slides the session of a user's token at once, with a new ttl; `null`: the one it has. `false` when it is not live.
   */
  async refresh(token: unknown, ttlMs: number | null): Promise<boolean> {
    const claims = this.claimsOf(token);
    if (claims === null) return false;
    const asked = this.#store.refresh(claims.tag, claims, this.#policy.reuse, ttlMs);
    return (await this.liveOf(claims, asked)) !== null;
  }

  /** Runs a verb on the data of a token's session; `null` when there is no such live session. */
  async onData<Outcome>(
    token: unknown,
    verb: (claims: TokenClaims) => Promise<FoundData<Outcome>>,
  ): Promise<{ data: Outcome } | null> {
    const claims = parseToken(token, this.#policy.keys);
    return claims === null ? null : this.liveOf(claims, verb(claims));
  }

  /** What the store has found of a live session, when it was asked with these claims; `null` when there is none. */
  async liveOf<Live extends { userId: string }>(
    claims: TokenClaims,
    asked: Promise<Live | EndedSession | null>,
  ): Promise<Live | null> {
    const found = this.#judge(claims, await asked);
    if (found !== null && !isEnded(found)) return found;
    this.#cache?.changed(claims.tag);
    return null;
  }

  /** The claims of a user's token; `null` for any other value. */
  claimsOf(token: unknown): TokenClaims | null {
    const claims = parseToken(token, this.#policy.keys);
    return claims === null || isVisitor(claims) ? null : claims;
  }

  /** The answer of another's call, also where the cache doesn't keep it. */
  async #answerOf({ answer }: SharedCall, token: string, purpose: 'read' | 'use'): Promise<FoundToken> {
    const found = await answer;
    const live = liveIn(found);
    return live === null ? found : (this.known(token, purpose) ?? { ...live, isFromMemory: true });
  }

  #ticketFor({ tag }: TokenClaims): Ticket | null {
    return this.#cache?.ticketFor(tag) ?? null;
  }

  /** @param ticket made right before; `null` where the answer can't be kept. */
  async #ask(
    token: string,
    claims: TokenClaims,
    purpose: Purpose,
    ticket: Ticket | null,
    reuse = this.#policy.reuse,
  ): Promise<FoundToken> {
    const { tag } = claims;
    const found = this.#judge(claims, await this.#look(claims, purpose, reuse));
    if (found === null || found.session === null) {
      // The cache may hold the session under another of its tokens.
      this.#cache?.changed(tag);
      return found;
    }
    const { userId, session, now, data } = found;
    // A substring of Redis's answer keeps all of it in memory.
    const user = new SharedUser(ticket === null ? userId : flat(userId), found);
    const live = { user, session, now, provedAt: claims.provedAt, isFromMemory: false };
    if (ticket !== null) this.#cache?.keep(ticket, token, claims, live);
    return data === undefined ? live : { ...live, data };
  }

  #look(claims: TokenClaims, purpose: Purpose, reuse: ReusePolicy): Promise<StoredWithData | EndedSession | null> {
    const { tag } = claims;
    const { slideEveryMs } = this.#policy;
    switch (purpose) {
      case 'read':
        return this.#store.check(tag, claims, reuse);
      case 'use':
        return this.#store.touch(tag, claims, reuse, slideEveryMs);
      case 'use with data':
        return this.#store.touchWithData(tag, claims, reuse, slideEveryMs);
    }
  }

  /** Checks that the answer is about the user of the token, and emits the events that it implies. */
  #judge<Live extends { userId: string }>(
    claims: TokenClaims,
    found: Live | EndedSession | null,
  ): Live | EndedSession | null {
    if (found === null) return null;
    if (!isOwner(found.userId, claims)) throw foreignRecord();
    if (isEnded(found) && found.isDetected && !isVisitor(claims)) {
      const { userId, sid: sessionId, reason, isEndedNow } = found;
      if (reason === 'expired') this.#events.emit('expired-on-use', { userId, sessionId });
      else this.#events.emit('reused', { userId, sessionId, ended: isEndedNow });
    }
    return found;
  }

  /** Slides a known session while its request goes on. After a failure, the next request asks the store. */
  async #slideAside(token: string, known: KnownSession): Promise<void> {
    const { user, session } = known;
    this.#cache?.slideBegins(known);
    const claims = readClaims(token) as TokenClaims;
    try {
      const session = (await this.#ask(token, claims, 'use', this.#ticketFor(claims)))?.session;
      // The record has moved on to another token.
      if (session?.gen !== claims.gen || session.mintedAt !== claims.mintedAt) this.#cache?.changed(claims.tag);
    } catch (error) {
      this.#cache?.changed(claims.tag);
      this.#events.emit('slide-failed', { userId: user.id, sessionId: session.sid, error });
    }
  }
}

function isEnded(found: object): found is EndedSession {
  return 'session' in found && found.session === null;
}

/** The live session of a look-up; `null` for none. */
export function liveIn<Live extends { session: SessionRecord }>(found: Live | EndedSession | null): Live | null {
  return found === null || found.session === null ? null : found;
}

/** Why a look-up has found no live session. */
export function endingOf(found: FoundToken): Ending {
  if (found === null || found.session !== null) return { reason: 'unknown' };
  const { reason, message } = found;
  return { reason, ...(message !== null && { message }) };
}

/**
 * The error of a reply that belongs to another user: a crossed connection, a proxy, a tampered record. It must not log
 * anyone in.
 */
export function foreignRecord(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', "the store's answer belongs to another user than the one asked for");
}

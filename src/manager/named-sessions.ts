import { isUnconfirmed } from '../errors/session-error';
import { type ChangedEntries, changesBetween, checkSize, overLimit } from '../store/session-entries';
import {
  expiryOf,
  type SessionAttributes,
  type SessionEntries,
  type Store,
  type StoredAttributes,
} from '../store/store';
import { createSessionId, isVisitor, type SessionName, signToken, type TokenClaims, tagOf } from '../token/token';
import type { Logins } from './logins';
import type { ManagerPolicy } from './manager-options';
import { reportOutcome } from './report-outcome';
import type { SessionEmitter } from './session-events';
import { ANY_TOKEN, type SessionLookup } from './session-lookup';

interface ListedSession {
  name: SessionName;
  /** `null` for a visitor. */
  userId: string | null;
  attributes: StoredAttributes;
  /** Milliseconds until it ends unless it is used. */
  leftMs: number;
}

export interface NamedSession extends ListedSession {
  ttlMs: number;
  data: SessionEntries;
}

/** What a session begins with. */
interface NamedBeginning {
  data: SessionEntries;
  /** Seconds it lives without a use. Default: the option `ttl`, of a visitor `visitorTtl`. */
  ttl?: number | undefined;
  /** Of a session that came from another store, see `NewSession`. */
  provedAt?: number | undefined;
}

/**
 * Sessions by tag and id instead of token, for a host that verifies them in its own way, such as express-session by its
 * signed cookie. Users' sessions are the same as those of tokens: lists, limits, kicks, bans and events know them.
 */
export class NamedSessions {
  readonly #policy: ManagerPolicy<unknown>;
  readonly #store: Store;
  readonly #lookup: SessionLookup;
  readonly #logins: Logins<unknown>;
  readonly #events: SessionEmitter;

  constructor(
    policy: ManagerPolicy<unknown>,
    store: Store,
    lookup: SessionLookup,
    logins: Logins<unknown>,
    events: SessionEmitter,
  ) {
    this.#policy = policy;
    this.#store = store;
    this.#lookup = lookup;
    this.#logins = logins;
    this.#events = events;
  }

  /** Milliseconds that a session lives without a use where nothing else is asked for. */
  defaultTtlMs(name: SessionName): number {
    return 1000 * (isVisitor(name) ? this.#policy.visitorTtl : this.#policy.ttl);
  }

  /** Reads a session with its data and slides it, in one call; `null` when it is not live. */
  async use(name: SessionName): Promise<NamedSession | null> {
    const claims = claimsOf(name);
    const asked = this.#store.touchWithData(name.tag, claims, ANY_TOKEN, this.#policy.slideEveryMs);
    const live = await this.#lookup.liveOf(claims, asked);
    if (live === null) return null;
    const { userId, session, now, data } = live;
    const { attributes, ttlMs } = session;
    return { name, userId: userId || null, attributes, ttlMs, leftMs: expiryOf(session) - now, data };
  }

  /** Reads a session's data, and nothing else; `null` when it is not live. */
  async read(name: SessionName): Promise<SessionEntries | null> {
    const claims = claimsOf(name);
    const found = await this.#lookup.liveOf(claims, this.#store.readData(name.tag, claims, ANY_TOKEN, null));
    return found?.data ?? null;
  }

  /**
   * Writes and deletes keys, all or none; `false` when the session is not live.
   *
   * @throws SessionError `ERR_DATA_TOO_LARGE`.
   */
  async write(name: SessionName, entries: ChangedEntries): Promise<boolean> {
    const { dataLimits: limits } = this.#policy;
    checkSize(entries, limits);
    const claims = claimsOf(name);
    const asked = this.#store.writeData(name.tag, claims, ANY_TOKEN, { entries }, limits);
    const found = await this.#lookup.liveOf(claims, asked);
    if (found?.data === 'too-large' || found?.data === 'too-many') throw overLimit(found.data, limits);
    return found !== null;
  }

  /** Slides a session at once, with that ttl from now on; `false` when it is not live. */
  async refresh(name: SessionName, ttlMs: number): Promise<boolean> {
    const claims = claimsOf(name);
    return (await this.#lookup.liveOf(claims, this.#store.refresh(name.tag, claims, ANY_TOKEN, ttlMs))) !== null;
  }

  /** Ends a session, as its holder does; `false` when it was not live. */
  async end(name: SessionName): Promise<boolean> {
    return (await this.#reportEnd(name, this.#store.end(name.tag, name.sid, null))) !== null;
  }

  /**
   * Ends a session that goes on as another one, which began with a copy of its data. Gives what other requests have
   * changed since the copy was made: for {@link catchUp}. `null` when it was not live.
   *
   * @param isLogout whether replicas must confirm the end, if the store is durable.
   */
  async endCopied(name: SessionName, copy: SessionEntries, isLogout = false): Promise<ChangedEntries | null> {
    const ending = this.#store.endWithData(name.tag, name.sid, null);
    const ended = await this.#reportEnd(name, ending).catch((error: unknown) => {
      if (isLogout || !isUnconfirmed(error) || error.outcome === undefined) throw error;
      return error.outcome as Awaited<typeof ending>;
    });
    return ended && changesBetween(copy, ended.data);
  }

  /**
   * Writes what other requests had changed in the former session to the one that takes its place. Never rejects: where
   * that fails, it reports the changes as {@link dropped}.
   */
  async catchUp(name: SessionName, userId: string | null, changes: ChangedEntries): Promise<void> {
    if (changes.size === 0) return;
    const isWritten = await this.write(name, changes).catch(() => false);
    if (!isWritten) this.dropped(name, userId);
  }

  /** Whether a session was ended by another than its holder, as long as that is remembered. */
  async wasEnded({ tag, sid }: SessionName): Promise<boolean> {
    const [state] = (await this.#store.states(tag, [sid])).states;
    return state?.isLive === false && state.reason !== 'expired' && state.reason !== 'unknown';
  }

  newName(userId: string): SessionName {
    return { tag: tagOf(this.#logins.checkUserId(userId)), sid: createSessionId() };
  }

  /**
   * Starts a user's session, or gives the live one of that name. Ends the sessions of the tokens in `replaces`. Doesn't
   * ask `getUserInfo`.
   *
   * @throws SessionError as a login, `ERR_DATA_TOO_LARGE`, and `ERR_NO_SESSION` for one that was moved here and has
   *   ended since.
   */
  async startUser(
    userId: string,
    { sid }: SessionName,
    {
      data,
      attributes = {},
      ...beginning
    }: NamedBeginning & { attributes?: SessionAttributes; replaces?: readonly string[] },
  ): Promise<void> {
    checkSize(data, this.#policy.dataLimits);
    await this.#logins.start(userId, { ...beginning, sid, data, attributes });
  }

  /**
   * Starts a visitor's session. `false`: there is a live one of that name, and nothing was changed.
   *
   * @throws SessionError `ERR_DATA_TOO_LARGE`, and `ERR_NO_SESSION` as {@link startUser}.
   */
  async startVisitor(
    { sid }: SessionName,
    { data, ...beginning }: NamedBeginning & { attributes?: StoredAttributes },
  ): Promise<boolean> {
    checkSize(data, this.#policy.dataLimits);
    const { session, now } = await this.#logins.startVisitor({ ...beginning, sid, data });
    return session.seenAt === now;
  }

  /**
   * A token of the newest generation of a live session that was used; `null` when there is none. It proves no more than
   * the login did: a later proof belongs to the client that gave it.
   */
  async tokenOf(name: SessionName): Promise<string | null> {
    const claims = claimsOf(name);
    const live = await this.#lookup.liveOf(claims, this.#store.check(name.tag, claims, ANY_TOKEN));
    if (live === null) return null;
    const { createdAt, provedAt } = live.session;
    const proof = provedAt > createdAt ? 0 : provedAt;
    return signToken({ tag: name.tag, ...live.session, provedAt: proof }, this.#policy.keys);
  }

  /** A token to end a session with. Asks no store. */
  endingTokenOf(name: SessionName): string {
    return signToken(claimsOf(name), this.#policy.keys);
  }

  /** Reports that data was not written: the session had ended, or the store failed in a {@link catchUp}. */
  dropped(name: SessionName, userId: string | null): void {
    this.#events.emit('save-dropped', { userId, sessionId: name.sid });
  }

  /**
   * All live sessions, those of some users and visitors at a time.
   *
   * @throws TypeError where the store has no way to list them.
   */
  async *all(): AsyncIterable<ListedSession[]> {
    const tags = this.#store.tags?.();
    if (tags === undefined) throw new TypeError('this store can not list all sessions: it has no method tags');
    const seen = new Set<string>();
    for await (const some of tags) {
      const fresh = some.filter((tag) => !seen.has(tag));
      for (const tag of fresh) seen.add(tag);
      for (let first = 0; first < fresh.length; first += LISTED_AT_ONCE) {
        const users = fresh.slice(first, first + LISTED_AT_ONCE).map((tag) => this.#sessionsOf(tag));
        yield (await Promise.all(users)).flat();
      }
    }
  }

  #reportEnd<Ended extends { userId: string }>({ tag, sid }: SessionName, ending: Promise<Ended | null>) {
    return reportOutcome(ending, (session) => {
      // No event for a visitor, whose tag is no hash.
      if (session === null || tagOf(session.userId) !== tag) return;
      this.#events.emit('logout', { userId: session.userId, sessionId: sid });
    });
  }

  async #sessionsOf(tag: string): Promise<ListedSession[]> {
    const stored = await this.#store.list(tag);
    if (stored === null) return [];
    return stored.sessions.map((session) => ({
      name: { tag, sid: session.sid },
      userId: stored.userId || null,
      attributes: session.attributes,
      leftMs: expiryOf(session) - stored.now,
    }));
  }
}

/** Users whose sessions are asked for at a time. */
const LISTED_AT_ONCE = 50;

function claimsOf({ tag, sid }: SessionName): TokenClaims {
  return { tag, sid, gen: 0, mintedAt: 0, provedAt: 0 };
}

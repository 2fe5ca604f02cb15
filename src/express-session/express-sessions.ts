import { randomBytes } from 'node:crypto';
import { checkString } from '../errors/arguments';
import { isStartRefusal } from '../errors/start-refusal';
import { attributesOf } from '../http/exchange/exchange';
import { currentOf } from '../http/session/request-session';
import { managedSession } from '../http/session/session-place';
import type { NamedSession, NamedSessions } from '../manager/named-sessions';
import type { RequestSessions } from '../manager/request-sessions';
import { requestSessionsOf, type TokenManager } from '../manager/token-manager';
import { type ChangedEntries, changesBetween } from '../store/session-entries';
import type { SessionAttributes, SessionEntries } from '../store/store';
import { isVisitor } from '../token/token';
import type { LegacySessions } from './legacy-sessions';
import type { SessionRequest } from './peer';
import { checkContent, contentOf, entriesOf, lifetimeOf } from './session-content';
import { idOf, isNamedId, nameOf, type SessionIdentity } from './session-identity';
import { newTrack, type StoredContent, type TrackedSession, tracked } from './tracked-session';

/** The most sessions that `all` returns, because it holds all of them in memory. */
const MAX_LISTED = 10_000;

/** The most sessions that are read in parallel. */
const AT_ONCE = 50;

/** The most tokens in cookies whose sessions a login ends. Each may cost a call to the store. */
const MAX_REPLACED = 10;

interface Save {
  identity: SessionIdentity;
  /** The identity that the session had until this save. */
  before: SessionIdentity;
  entries: Map<string, string>;
  /** `null` for the default, 0 for an expired session. */
  ttlMs: number | null;
  request: SessionRequest | null;
}

/**
 * Stores express-session's sessions as sessions of the manager. If the content names a user, the session is that
 * user's; otherwise it is a visitor's.
 */
export class ExpressSessions {
  readonly #manager: TokenManager<unknown>;
  readonly #requests: RequestSessions<unknown>;
  readonly #sessions: NamedSessions;
  readonly #userIdOf: (session: object) => string | null;
  readonly #legacy: LegacySessions | null;
  /** The session of the latest save in progress, by the id that it stores. */
  readonly #saving = new Map<string, { known: TrackedSession }>();

  constructor(
    manager: TokenManager<unknown>,
    userIdOf: (session: object) => string | null,
    legacy: LegacySessions | null,
  ) {
    this.#manager = manager;
    this.#requests = requestSessionsOf(manager);
    this.#sessions = this.#requests.named;
    this.#userIdOf = userIdOf;
    this.#legacy = legacy;
  }

  /** Reads a session and slides it; `null` when it is not live. */
  async find(id: string): Promise<object | null> {
    const session = await this.#lookUp(id);
    if (session === null) return null;
    const { name, userId, data: entries, ttlMs, leftMs } = session;
    const content = contentOf(entries, leftMs);
    const movedTo = isNamedId(id) || userId === null ? id : idOf(name);
    const identity = { id: movedTo, name, userId };
    tracked.add(content, newTrack(this, identity, { identity, entries, ttlMs, isLive: true }, id));
    return content;
  }

  /**
   * Saves the keys of a session that have changed since it was read. Writes nothing into a session that has ended. When
   * the user has changed, starts another session in its place, whose id the request has at once.
   */
  async save(id: string, session: object): Promise<void> {
    checkString('sid', id);
    const entries = entriesOf(session);
    const ttlMs = lifetimeOf(session);
    const userId = this.#userIdOf(session);
    const known = this.#trackUnder(id, session);
    if (known === undefined) return this.#replace(id, { entries, ttlMs, userId });
    const request = (session as { req?: SessionRequest }).req ?? null;
    // The refusal was reported already, and express-session saves again at the end of the response that reports it.
    const { failure } = known;
    if (userId !== null && failure?.identity.userId === userId && isStartRefusal(failure.error)) return;
    const before = known.identity;
    if (before.userId !== userId) changeIdentity(known, this.#newIdentity(userId), request);
    if (before.userId !== userId && userId !== null && request !== null) this.#endConflict(request);
    const { identity } = known;
    const saving = { known };
    this.#saving.set(identity.id, saving);
    try {
      await inTurn(known, () => this.#store(known, { identity, before, entries, ttlMs, request }));
    } finally {
      // A later save may be in progress.
      if (this.#saving.get(identity.id) === saving) this.#saving.delete(identity.id);
    }
  }

  /** Slides a session unless reading it already has, and sets the time to live of its cookie. */
  async touch(id: string, session: object): Promise<void> {
    const cookie = entriesOf({ cookie: checkContent(session).cookie });
    const ttlMs = lifetimeOf(session);
    const known = this.#trackUnder(id, session);
    if (known === undefined) {
      if (ttlMs === 0) return this.end(id);
      const name = nameOf(id);
      await this.#sessions.refresh(name, ttlMs ?? this.#sessions.defaultTtlMs(name));
      return;
    }
    return inTurn(known, async () => {
      const { stored } = known;
      if (ttlMs === 0) return this.#endStored(known);
      if (stored?.isLive) await this.#update(known, stored, new Map([...stored.entries, ...cookie]), ttlMs);
    });
  }

  /** Ends a session, after the saves of it that have begun. Does nothing when there is none. */
  async end(id: string): Promise<void> {
    const known = this.#saving.get(id)?.known;
    if (known === undefined) return this.#end(id);
    await known.queue;
    // A save that failed has gone back to the former id. A sign-in that has begun meanwhile may still do so.
    await Promise.all([...new Set([id, known.identity.id])].map((one) => this.#end(one)));
  }

  async #end(id: string): Promise<void> {
    const legacy = isNamedId(id) ? null : this.#legacy;
    // A session that was not moved yet is moved, so that its end counts against a move in progress, too.
    const session = legacy && ((await this.#sessions.use(nameOf(id))) ?? (await legacy.move(id)));
    await legacy?.forget(id);
    await this.#sessions.end(nameOf(session?.attributes.movedTo ?? id));
  }

  /**
   * Lists all live sessions with their ids, also those that express-session did not start.
   *
   * @throws RangeError when there are more than 10,000.
   */
  async all(): Promise<object[]> {
    const found: object[] = [];
    for await (const sessions of this.#listed()) {
      const read = sessions.map(async ({ name, leftMs }) => {
        const entries = await this.#sessions.read(name);
        return entries === null ? [] : [{ ...contentOf(entries, leftMs), id: idOf(name) }];
      });
      found.push(...(await Promise.all(read)).flat());
      if (found.length > MAX_LISTED) {
        throw new RangeError(`all() gives at most ${MAX_LISTED} sessions, and there are more`);
      }
    }
    return found;
  }

  async count(): Promise<number> {
    let count = 0;
    for await (const sessions of this.#listed()) count += sessions.length;
    return count;
  }

  async endAll(): Promise<void> {
    for await (const sessions of this.#sessions.all()) {
      await Promise.all(sessions.map(({ name }) => this.#sessions.end(name)));
    }
  }

  async *#listed() {
    for await (const sessions of this.#sessions.all()) {
      const own = sessions.filter(({ attributes }) => attributes.movedTo === undefined);
      for (let first = 0; first < own.length; first += AT_ONCE) yield own.slice(first, first + AT_ONCE);
    }
  }

  /**
   * The state of a request's session, or of content that `get` returned, under this id. Under another id or in another
   * store, it is an object like any other: a copy to store there.
   */
  #trackUnder(id: string, session: object): TrackedSession | undefined {
    const known = tracked.get(session);
    if (known?.owner !== this) return undefined;
    const { foundBy, identity } = known;
    return foundBy === id || identity.id === id ? known : undefined;
  }

  async #lookUp(id: string): Promise<NamedSession | null> {
    const known = await this.#sessions.use(nameOf(id));
    // The process that moved it may have died before the last step. Nothing here waits for that.
    if (known?.attributes.movedTo !== undefined) void this.#legacy?.move(id).catch(() => undefined);
    const session = known ?? (await this.#legacy?.move(id)) ?? null;
    const moved = session?.attributes.movedTo;
    return moved === undefined ? session : this.#sessions.use(nameOf(moved));
  }

  #newIdentity(userId: string | null): SessionIdentity {
    if (userId === null) {
      const id = randomBytes(24).toString('base64url');
      return { id, name: nameOf(id), userId };
    }
    const name = this.#sessions.newName(userId);
    return { id: idOf(name), name, userId };
  }

  /** Saves an object that belongs to no request: replaces all stored content. */
  async #replace(
    id: string,
    { entries, ttlMs, userId }: Pick<Save, 'entries' | 'ttlMs'> & { userId: string | null },
  ): Promise<void> {
    const session = await this.#lookUp(id);
    if (userId !== (session?.userId ?? null)) {
      throw new TypeError('only a session of a request can change its user: save req.session, or what load() gives');
    }
    const name = session?.name ?? nameOf(id);
    if (session === null && isNamedId(id)) return this.#sessions.dropped(name, null);
    const identity = { id, name, userId };
    const stored = session && { identity, entries: session.data, ttlMs: session.ttlMs, isLive: true };
    const known = newTrack(this, identity, stored);
    try {
      await this.#store(known, { identity, before: identity, entries, ttlMs, request: null });
    } catch (error) {
      if (!isStartRefusal(error)) throw error;
      this.#sessions.dropped(name, null);
    }
  }

  async #store(known: TrackedSession, save: Save): Promise<void> {
    const { stored, failure } = known;
    const { identity, before, entries, ttlMs, request } = save;
    if (failure?.identity === identity) throw failure.error;
    if (ttlMs === 0) return this.#endStored(known);
    if (stored?.identity === identity) return this.#update(known, stored, entries, ttlMs);
    try {
      await this.#moveOn(known, save);
    } catch (error) {
      // The new session does not exist: the request goes back to the former one.
      known.failure = { identity, error };
      if (known.identity === identity) changeIdentity(known, before, request);
      throw error;
    }
  }

  async #update(
    known: TrackedSession,
    stored: StoredContent,
    entries: Map<string, string>,
    wanted: number | null,
  ): Promise<void> {
    const { name, userId } = stored.identity;
    const changes = changesBetween(stored.entries, entries);
    const ttlMs = wanted ?? this.#sessions.defaultTtlMs(name);
    if (stored.isLive && changes.size > 0) stored.isLive = await this.#sessions.write(name, changes);
    if (stored.isLive && ttlMs !== stored.ttlMs) stored.isLive = await this.#sessions.refresh(name, ttlMs);
    if (!stored.isLive) return this.#sessions.dropped(name, userId);
    known.stored = { ...stored, entries, ttlMs };
  }

  /** Stores a session under another identity: for a new session, and for a sign-in or sign-out. */
  async #moveOn(known: TrackedSession, save: Save): Promise<void> {
    const { identity, entries, ttlMs: wanted } = save;
    const former = known.stored;
    const ttlMs = wanted ?? this.#sessions.defaultTtlMs(identity.name);
    const isSignOut = identity.userId === null && former !== null && former.identity.userId !== null;
    const isLive = isSignOut ? await this.#signOut(former, save, ttlMs) : await this.#signIn(former, save, ttlMs);
    known.stored = { identity, entries, ttlMs, isLive };
    if (!isLive && former !== null) this.#sessions.dropped(former.identity.name, former.identity.userId);
  }

  /**
   * Ends a user's session, and starts a visitor's with its data. `false`: the user's had ended otherwise, and no visitor
   * gets its data.
   */
  async #signOut(former: StoredContent, save: Save, ttlMs: number): Promise<boolean> {
    const changesByOthers = await this.#endFormer(former, save.entries, true);
    if (changesByOthers === null) return false;
    const data = new Map(save.entries);
    for (const [key, json] of changesByOthers) json === null ? data.delete(key) : data.set(key, json);
    await this.#start({ ...save, entries: data }, ttlMs);
    return true;
  }

  /**
   * Starts a session, and then ends the former one, so that a refused sign-in takes nothing. `false`: the former one was
   * a user's and was kicked, so that nobody gets its data. Where it has ended otherwise, another request may have
   * changed the user at the same time.
   */
  async #signIn(former: StoredContent | null, save: Save, ttlMs: number): Promise<boolean> {
    const { name, userId } = save.identity;
    const wasKicked = async () =>
      former !== null && former.identity.userId !== null && this.#sessions.wasEnded(former.identity.name);
    if (await wasKicked()) return false;
    await this.#start(save, ttlMs);
    try {
      const changesByOthers = former?.isLive ? await this.#endFormer(former, save.entries) : null;
      if (changesByOthers !== null) await this.#sessions.catchUp(name, userId, changesByOthers);
      else if (await wasKicked()) {
        await this.#sessions.end(name);
        return false;
      }
      return true;
    } catch (error) {
      // The client gets no cookie for the new session. In an outage, waiting for its end would only delay the error.
      void this.#sessions.end(name).catch(() => undefined);
      throw error;
    }
  }

  async #start({ identity, before, entries: data, request }: Save, ttlMs: number): Promise<void> {
    const { name, userId } = identity;
    const beginning = { data, ttl: ttlMs / 1000 };
    if (userId !== null) {
      const replaces = request === null ? [] : this.#replacedTokens(request, before.name.sid);
      const login = { attributes: attributesFrom(request), replaces };
      return this.#sessions.startUser(userId, name, { ...beginning, ...login });
    }
    // Outside of express-session's requests, only the store can tell a new session from a late save of an ended one.
    const provedAt = request === null ? 0 : undefined;
    if (await this.#sessions.startVisitor(name, { ...beginning, provedAt })) return;
    const stored = (await this.#sessions.read(name)) ?? new Map();
    await this.#sessions.write(name, changesBetween(stored, data));
    await this.#sessions.refresh(name, ttlMs);
  }

  /**
   * Ends a session that goes on as another one. Gives what other requests have changed since this one read it, but for
   * the keys that this request has changed; `null` when this request has not ended it.
   */
  async #endFormer(former: StoredContent, entries: SessionEntries, isLogout = false): Promise<ChangedEntries | null> {
    const { identity, entries: before, isLive } = former;
    const ended = isLive ? await this.#sessions.endCopied(identity.name, before, isLogout) : null;
    former.isLive = false;
    if (ended !== null) former.changesByOthers = ended;
    const { changesByOthers } = former;
    return changesByOthers
      ? new Map([...changesByOthers].filter(([key]) => before.get(key) === entries.get(key)))
      : null;
  }

  /**
   * The tokens in the cookie of `sessionMiddleware`, whose session a login would otherwise leave live: those that came,
   * and the one that the answer sets. The name of that cookie is not known here, so every user's token in a cookie
   * counts: one in another cookie, perhaps a planted one, must not save the others. Ten planted ones do, because the
   * calls of a request are limited.
   *
   * @param former the session that goes on as the new one, and ends after the login, with what others have written.
   */
  #replacedTokens(request: SessionRequest, former: string): readonly string[] {
    const ours = managedSession(request, this.#manager);
    const current = ours === undefined ? null : currentOf(ours);
    const own = current?.isInCookie ? [current.token] : [];
    const values = new Set([...own, ...(request.headers?.cookie?.toString().split(/[^\w.-]+/) ?? [])]);
    const replaced = [...values].filter((value): value is string => {
      const claims = this.#requests.readToken(value);
      return claims !== null && claims.sid !== former && !isVisitor(claims);
    });
    return replaced.slice(0, MAX_REPLACED);
  }

  /**
   * Deletes the cookies of `sessionMiddleware` that came, if they conflict: the login then counts there from the next
   * request on. At once, because the headers may be sent before the login is stored.
   */
  #endConflict(request: SessionRequest): void {
    const ours = managedSession(request, this.#manager);
    if (ours !== undefined && currentOf(ours).isConflict) currentOf(ours).clearCookie();
  }

  async #endStored({ stored }: TrackedSession): Promise<void> {
    if (!stored?.isLive) return;
    stored.isLive = false;
    await this.#sessions.end(stored.identity.name);
  }
}

function changeIdentity(known: TrackedSession, identity: SessionIdentity, request: SessionRequest | null): void {
  if (request !== null && request.sessionID === known.identity.id) request.sessionID = identity.id;
  known.identity = identity;
}

/** Runs a change of a session after the earlier ones. */
function inTurn<Outcome>(known: TrackedSession, act: () => Promise<Outcome>): Promise<Outcome> {
  const turn = known.queue.then(act);
  known.queue = turn.catch(() => undefined);
  return turn;
}

function attributesFrom(request: SessionRequest | null): SessionAttributes {
  if (request === null) return {};
  const header = (name: string) => request.headers?.[name]?.toString();
  return attributesOf({ header, ip: () => request.ip });
}

import { checkSeconds, checkUserId, type Read, readOptions } from '../errors/arguments';
import { isUnconfirmed, SessionError } from '../errors/session-error';
import { userOf } from '../store/shared-user';
import type { NewSession, SessionRecord, Store, StoredAttributes } from '../store/store';
import { createSessionId, parseToken, type SessionName, signToken, type TokenClaims, tagOf } from '../token/token';
import { CREATE_OPTIONS, type CreateSessionOptions } from './call-options';
import type { ManagerPolicy } from './manager-options';
import { reportOutcome } from './report-outcome';
import type { SessionEmitter } from './session-events';
import type { User } from './types';
import type { UserInfo } from './user-info';

/** The first data of a session, and its id and proof where it doesn't get new ones. */
interface Beginning extends Pick<NewSession, 'data' | 'inherits' | 'provedAt'> {
  sid?: string | undefined;
}

/** The checked options of a login, and what the session begins with. */
type LoginOptions = Partial<Read<typeof CREATE_OPTIONS>> & Beginning;

/** What a visitor's session begins with. */
interface VisitorOptions extends Beginning {
  /** Seconds it lives without a request. Default: the option `visitorTtl`. */
  ttl?: number | undefined;
  attributes?: StoredAttributes | undefined;
}

interface StartedSession<Detail> {
  token: string;
  user: User<Detail>;
  session: SessionRecord;
  /** The store's clock, in milliseconds. */
  now: number;
}

/** Starts sessions, and ends those that they replace. */
export class Logins<Detail> {
  readonly #policy: ManagerPolicy<Detail>;
  readonly #store: Store;
  readonly #userInfo: UserInfo<Detail>;
  readonly #events: SessionEmitter;

  constructor(policy: ManagerPolicy<Detail>, store: Store, userInfo: UserInfo<Detail>, events: SessionEmitter) {
    this.#policy = policy;
    this.#store = store;
    this.#userInfo = userInfo;
    this.#events = events;
  }

  /** Checks a user id. A token in its place is a mistake, and would end up in events and records. */
  checkUserId(userId: unknown, name = 'userId'): string {
    const text = checkUserId(name, userId);
    if (parseToken(text, this.#policy.keys) === null) return text;
    throw new TypeError(`${name} must be a user's id, and is a token`);
  }

  /** Starts a session. With a `getUserInfo`, only for a user that it knows. */
  async logIn(
    userId: string,
    options: CreateSessionOptions | undefined,
    beginning: Beginning = {},
  ): Promise<StartedSession<Detail>> {
    this.checkUserId(userId);
    const given = { ...readOptions('createSession', options, CREATE_OPTIONS, ''), ...beginning };
    if (!this.#userInfo.hasLoader) return this.start(userId, given);
    const detail = await this.#userInfo.loadAfresh(userId, this.#policy.userInfoTtlMs);
    if (detail === null) throw userNotFound();
    return { ...(await this.start(userId, given)), user: userOf(userId, detail) };
  }

  /** Starts a session, without asking `getUserInfo`. */
  async start(userId: string, options: LoginOptions): Promise<StartedSession<Detail>> {
    const { ttl = this.#policy.ttl, absoluteTtl, attributes = {}, actor, replaces = [] } = options;
    const { data, inherits, provedAt } = options;
    this.checkUserId(userId);
    const { keys, maxSessions, maxOnDevice, onLimit } = this.#policy;
    checkSeconds('ttl', ttl);
    const tag = tagOf(userId);
    const { sid = createSessionId() } = options;
    this.#userInfo.ignoreLoad(userId);
    const replaced = replaces.map((old) => parseToken(old, keys)).filter((old) => old !== null);

    const creation = this.#store.create(tag, {
      userId,
      sid,
      ttlMs: ttl * 1000,
      absoluteTtlMs: this.#absoluteTtlMs(absoluteTtl),
      attributes: { ...attributes, ...(actor !== undefined && { actor }), ...movedBy(provedAt) },
      data,
      inherits,
      provedAt,
      maxSessions,
      maxOnDevice: maxOnDevice(attributes.device),
      onLimit,
      replaces: replaced.filter((old) => old.tag === tag).map((old) => old.sid),
    });
    const { session, now } = await reportOutcome(creation, ({ ended }) => {
      for (const sessionId of ended) this.#events.emit('replaced', { userId, sessionId, by: sid });
    });
    await this.#endReplaced(
      replaced.filter((old) => old.tag !== tag),
      { tag, sid },
    );
    const given = { attributes: { ...attributes }, ...(actor !== undefined && { actor }) };
    // The move of a session that was kept elsewhere is no login.
    if (provedAt === undefined) this.#events.emit('login', { userId, sessionId: sid, ...given });
    return { token: signToken({ tag, ...session }, keys), user: userOf(userId), session, now };
  }

  async startVisitor(options: VisitorOptions): Promise<{ token: string; session: SessionRecord; now: number }> {
    const { sid = createSessionId(), ttl = this.#policy.visitorTtl, attributes = {}, data, provedAt } = options;
    const { session, now } = await this.#store.create(sid, {
      userId: '',
      sid,
      ttlMs: 1000 * ttl,
      absoluteTtlMs: this.#absoluteTtlMs(),
      attributes: { ...attributes, ...movedBy(provedAt) },
      data,
      provedAt,
      maxSessions: 1,
      maxOnDevice: 0,
      onLimit: 'replace',
      replaces: [],
    });
    return { token: signToken({ tag: sid, ...session }, this.#policy.keys), session, now };
  }

  /** The shorter of the login's own bound, in seconds, and the manager's; 0 for none. */
  #absoluteTtlMs(own = Number.POSITIVE_INFINITY): number {
    const life = Math.min(own, this.#policy.absoluteTtl);
    return Number.isFinite(life) ? 1000 * life : 0;
  }

  /**
   * Ends sessions of other users, and of a visitor, that a login replaces. Their keys may be on other nodes of a
   * Cluster, and so are no part of the same script. When one can't be ended, the new session is ended as well.
   */
  async #endReplaced(replaced: readonly TokenClaims[], by: SessionName): Promise<void> {
    const ending = replaced.map(({ tag, sid: sessionId }) =>
      reportOutcome(this.#store.end(tag, sessionId, { reason: 'replaced', message: null }), (session) => {
        if (session === null || tagOf(session.userId) !== tag) return;
        this.#events.emit('replaced', { userId: session.userId, sessionId, by: by.sid });
      }),
    );
    const failure = (await Promise.allSettled(ending)).find(
      (outcome) => outcome.status === 'rejected' && !isUnconfirmed(outcome.reason),
    );
    if (failure === undefined) return;
    // No client has its token, so an outage need not wait for this.
    void Promise.allSettled([this.#store.end(by.tag, by.sid, null)]);
    throw (failure as PromiseRejectedResult).reason;
  }
}

function movedBy(provedAt: number | undefined): StoredAttributes {
  return provedAt === undefined ? {} : { moved: true };
}

/** The error of a login of a user that `getUserInfo` doesn't know. */
function userNotFound(): SessionError {
  return new SessionError('ERR_USER_NOT_FOUND', 'getUserInfo knows no such user: no session was started');
}

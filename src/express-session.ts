import { checkFunction, checkUserId, kindOf, optional, type Readers, readOptions } from './errors/arguments';
import { SessionError } from './errors/session-error';
import { ExpressSessions } from './express-session/express-sessions';
import { LegacySessions } from './express-session/legacy-sessions';
import { type AnyStore, type SessionMethods, type SessionRequest, Store } from './express-session/peer';
import { nameOf } from './express-session/session-identity';
import { placeSession, trackOf } from './express-session/tracked-session';
import { checkProperty } from './http/property';
import type { RequestSession } from './http/request-session';
import { SessionPlace } from './http/session-place';
import { TokenManager } from './manager/token-manager';

export type { AnyStore, SessionMethods, SessionRequest } from './express-session/peer';

/** A session of express-session as far as passport fills it. */
export interface PassportSession {
  passport?: { user?: unknown };
}

/** Where an application had its sessions before. */
export interface LegacySessionsOptions<Session extends object = PassportSession> {
  /** The store of express-session that it had, `new RedisStore({ client })` of connect-redis say. */
  store: AnyStore;
  /**
   * When the user of a session logged in, where the session says so: a Date, or milliseconds since the epoch, not to
   * come. Default, and for anything else: unknown, a moved session never passes for a recent login.
   */
  authenticatedAt?: ((session: Session) => Date | number | null | undefined) | undefined;
}

/** Options of an `ExpressSessionStore`. */
export interface ExpressSessionStoreOptions<Session extends object = PassportSession> {
  /**
   * The id of the user who is signed in by a session: a text or a number. `undefined`, `null`, `false` or `''`: none.
   * Must be a pure function of the session. Required.
   */
  userIdOf: (session: Session) => unknown;
  /**
   * Where sessions are that this store does not have: each is moved here at its first use. Default: nowhere. An answer
   * that takes longer than 5 seconds is an outage.
   */
  legacy?: LegacySessionsOptions<Session> | undefined;
}

const READERS = {
  userIdOf: (name, value) => checkFunction<(session: object) => unknown>(name, value),
  legacy: optional((_name, value) => readOptions('legacy', value as object, LEGACY_READERS, ''), null),
} satisfies Readers<ExpressSessionStoreOptions>;

const LEGACY_READERS = {
  store: readStore,
  authenticatedAt: optional(checkFunction<(session: object) => unknown>, () => undefined),
} satisfies Readers<LegacySessionsOptions>;

/**
 * Called with what failed, or `null` and the outcome. Written as a method, whose parameters TypeScript lets be
 * narrower: express-session's own type of a session has what the application declares, ours can not.
 */
export type Callback<Outcome> = {
  /** Gives the outcome of the call, or what failed; `null` for nothing. */
  call(error: unknown, outcome?: Outcome): unknown;
}['call'];

/** Makes express-session save the session of a request, and set its cookie, although nothing in it has changed. */
const CHANGED_ID = 'tokensession';

/**
 * A store for express-session's own middleware that keeps its sessions with a manager: applications go on with
 * `req.session.anything = …`, and their users' sessions are listed, limited, ended, banned and reported like all
 * others. Works with express-session 1.17.3 and later.
 *
 * Writes only the top-level keys that a request has changed since it read them, and nothing into a session that has
 * ended meanwhile. A session whose user becomes another gets a new id, and the cookie of it in the same response. A
 * session lives for its `cookie.maxAge`; where that is not set, for the manager's `ttl`, of a visitor `visitorTtl`.
 * Sessions are bound by the manager's `maxDataBytes` and `maxDataKeys`.
 *
 * The cookie of express-session stands for the token: its `secret` must be as strong as the manager's, another one, and
 * sign nothing else.
 *
 * Each method takes a callback, and without one returns a promise.
 *
 * @example
 * const store = new ExpressSessionStore(manager, { userIdOf: (session) => session.passport?.user });
 * app.use(session({ store, … }));
 */
export class ExpressSessionStore<Session extends object = PassportSession> extends Store {
  readonly #manager: TokenManager<unknown>;
  readonly #sessions: ExpressSessions;
  #generate: ((request: SessionRequest) => void) | undefined;

  /** @throws TypeError naming the argument or option that is missing, unknown or of the wrong kind. */
  constructor(manager: TokenManager<unknown>, options: ExpressSessionStoreOptions<Session>) {
    super();
    if (!(manager instanceof TokenManager)) {
      throw new TypeError(`ExpressSessionStore needs a TokenManager, got ${kindOf(manager)}`);
    }
    const { userIdOf, legacy } = readOptions('ExpressSessionStore', options, READERS);
    const checkedUserIdOf = (session: object) => readUserId(userIdOf(session));
    const former =
      legacy &&
      new LegacySessions(manager.namedSessions, {
        store: legacy.store,
        userIdOf: checkedUserIdOf,
        provedAtOf: (session) => readMoment(legacy.authenticatedAt(session)),
      });
    this.#manager = manager;
    this.#sessions = new ExpressSessions(manager.namedSessions, checkedUserIdOf, former);
  }

  /** Gives a live session, and slides it; `null` when there is none. */
  get(sid: string, callback?: Callback<object | null>): Promise<object | null> | undefined {
    return settle(this.#sessions.find(sid), callback);
  }

  /** Saves a session: what of it has changed since it was read. */
  set(sid: string, session: object, callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.save(sid, session), callback);
  }

  /** Ends a session. */
  destroy(sid: string, callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.end(sid), callback);
  }

  /** Slides a session. Of one that `get` gave, that is done already, unless its `cookie.maxAge` has changed. */
  touch(sid: string, session: object, callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.touch(sid, session), callback);
  }

  /**
   * Gives all live sessions of the manager's store, at most 10,000, each with an `id` for `destroy`: for development
   * and tests. Scans the store's keys, in Redis by SCAN on every master.
   */
  all(callback?: Callback<object | null>): Promise<object[]> | undefined {
    return settle(this.#sessions.all(), callback);
  }

  /** Counts the live sessions of the manager's store, as {@link all} does. */
  length(callback?: Callback<number>): Promise<number> | undefined {
    return settle(this.#sessions.count(), callback);
  }

  /** Ends all sessions of the manager's store, also those that were not started here. */
  clear(callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.endAll(), callback);
  }

  /**
   * Whether a session is one of the store's manager.
   *
   * @internal
   */
  hasManagerOf(session: RequestSession<unknown>): boolean {
    return session.isBy(this.#manager);
  }

  /**
   * A token of a live session; `null` when there is none.
   *
   * @internal
   */
  tokenOf(sid: string): Promise<string | null> {
    return this.#manager.namedSessions.tokenOf(nameOf(sid));
  }

  /** Makes the session of a request of what `get` gave. */
  override createSession<Content extends object>(request: object, session: Content): Content & SessionMethods {
    const req = request as SessionRequest;
    const known = trackOf(session);
    const original = super.createSession(request, session);
    if (known === undefined) return original;
    if (req.sessionID !== known.identity.id) {
      req.sessionID = known.identity.id;
      Object.assign(session, { [CHANGED_ID]: true });
    }
    return placeSession(req, original, known.identity, known.stored) as Content & SessionMethods;
  }

  /** Puts a new session in the place of a request's one. Where that can't be ended, the request and its cookie keep it. */
  override regenerate(request: object, callback: (error?: unknown) => unknown): void {
    const req = request as SessionRequest;
    this.destroy(req.sessionID, (error: unknown) => {
      if (error) return callback(error);
      this.generate?.(req);
      callback();
    });
  }

  /**
   * Starts the session of a request: the middleware sets it.
   *
   * @internal
   */
  override get generate(): ((request: SessionRequest) => void) | undefined {
    const generate = this.#generate;
    if (generate === undefined) return undefined;
    return (request) => {
      generate(request);
      const id = request.sessionID;
      if (typeof id !== 'string') return;
      placeSession(request, request.session ?? {}, { id, name: nameOf(id), userId: null }, null);
    };
  }

  override set generate(generate: ((request: SessionRequest) => void) | undefined) {
    this.#generate = generate;
  }
}

/** Options of `continueSession()`. */
export interface ContinueSessionOptions {
  /** The option `property` of `sessionMiddleware`. Default `'auth'`. */
  property?: string | undefined;
}

const CONTINUE_READERS = { property: optional(checkProperty, 'auth') } satisfies Readers<ContinueSessionOptions>;

/**
 * Takes sessions of express-session over into `sessionMiddleware`, for an application that leaves express-session: to
 * be mounted behind both, with one manager. Where no user is signed in there, the session goes on that the request has
 * of express-session, a visitor's too: the same session with the same data, by a cookie of ours beside the other one.
 * Once all clients have been here, express-session can go.
 *
 * @throws TypeError for a store or an option of the wrong kind.
 * @example
 * app.use(session({ store, … }));
 * app.use(sessionMiddleware(manager, { property: 'auth' }));
 * app.use(continueSession(store));
 */
export function continueSession<Session extends object>(
  store: ExpressSessionStore<Session>,
  options?: ContinueSessionOptions,
): (request: object, response: object, next: (error?: unknown) => void) => void {
  if (!(store instanceof ExpressSessionStore)) {
    throw new TypeError(`continueSession needs an ExpressSessionStore, got ${kindOf(store)}`);
  }
  const { property } = readOptions('continueSession', options, CONTINUE_READERS);
  const place = SessionPlace.of('req', property);
  return (request, _response, next) => {
    const ours = place.find(request);
    if (ours === null) return next(new TypeError(`continueSession: there is no req.${property}, see its option`));
    if (!store.hasManagerOf(ours)) return next(new TypeError(`continueSession: req.${property} has another manager`));
    const { session } = request as SessionRequest;
    const known = ours.user === null && session ? trackOf(session) : undefined;
    if (!session || !known?.stored?.isLive || ours.id === known.identity.name.sid) return next();
    const { maxAge } = (session as { cookie: { maxAge?: unknown } }).cookie;
    store
      .tokenOf(known.identity.id)
      .then((token) => (token === null ? undefined : ours.adopt(token, typeof maxAge === 'number')))
      .then(() => next(), next);
  };
}

/** Calls back outside of the promise, where an error of the callback is one of its own. */
function settle<Outcome>(outcome: Promise<Outcome>, callback?: Callback<never>): Promise<Outcome> | undefined {
  const safe = outcome.catch((error: unknown) => {
    throw withoutMeaning(error);
  });
  if (typeof callback !== 'function') {
    // A caller who wants to know of a failure has the promise.
    safe.catch(() => undefined);
    return safe;
  }
  safe.then(
    (value) => process.nextTick(callback, null, value),
    (error) => process.nextTick(callback, error),
  );
  return undefined;
}

/** To express-session an error with the code `ENOENT` means that there is no session. */
function withoutMeaning(error: unknown): unknown {
  if ((error as { code?: unknown } | null)?.code !== 'ENOENT') return error;
  return new SessionError('ERR_STORE_UNAVAILABLE', 'the store can not be asked', { cause: error });
}

function readUserId(value: unknown): string | null {
  if (value === undefined || value === null || value === false || value === '') return null;
  if (Number.isFinite(value) || typeof value === 'bigint') return checkUserId(String(value), USER_ID);
  return checkUserId(value, USER_ID);
}

const USER_ID = 'what userIdOf gives';

function readMoment(value: unknown): number {
  const moment = value instanceof Date ? value.getTime() : value;
  // A time to come is no time of a login: in another unit, say.
  return typeof moment === 'number' && moment > 0 && moment <= Date.now() ? Math.floor(moment) : 0;
}

function readStore(name: string, store: unknown): AnyStore {
  const { get, destroy } = (store ?? {}) as Partial<AnyStore>;
  if (typeof get === 'function' && typeof destroy === 'function') return store as AnyStore;
  throw new TypeError(`${name} must be a store of express-session, got ${kindOf(store)}`);
}

import { checkFunction, kindOf, optional, type Readers, readOptions, readUserId } from './errors/arguments';
import { isUnconfirmed, SessionError } from './errors/session-error';
import { ExpressSessions } from './express-session/express-sessions';
import { LegacySessions } from './express-session/legacy-sessions';
import { type AnyStore, type SessionMethods, type SessionRequest, Store } from './express-session/peer';
import { isNamedId, nameOf } from './express-session/session-identity';
import { placeSession, tracked } from './express-session/tracked-session';
import { checkProperty } from './http/session/middleware-options';
import { currentOf } from './http/session/request-session';
import { isManagedBy, SessionPlace } from './http/session/session-place';
import { adoptSession } from './http/session/session-verbs';
import { checkManager } from './manager/check-manager';
import { requestSessionsOf, type TokenManager } from './manager/token-manager';

export type { AnyStore, SessionMethods, SessionRequest } from './express-session/peer';

/** The part of an express-session session that passport writes. */
export interface PassportSession {
  passport?: { user?: unknown };
}

/** The former store of an application's sessions. */
export interface LegacySessionsOptions<Session extends object = PassportSession> {
  /** The former express-session store, such as `new RedisStore({ client })` of connect-redis. Required. */
  store: AnyStore;
  /**
   * Returns when the session's user logged in: milliseconds since the epoch, a Date, or its ISO string, which a Date is
   * in a store of JSON. Any other value, or a time in the future, counts as unknown. `absoluteTtl` counts from that
   * time; if it is unknown, from the move. Default: unknown. `requireRecentLogin` then refuses a moved session until it
   * is `reauthenticated()`.
   */
  authenticatedAt?: ((session: Session) => Date | string | number | null | undefined) | undefined;
}

/** Options of an `ExpressSessionStore`. */
export interface ExpressSessionStoreOptions<Session extends object = PassportSession> {
  /**
   * Returns the id of the session's user: a string or a number. `undefined`, `null`, `false` or `''`: no user. Must be
   * a pure function of the session. Required.
   */
  userIdOf: (session: Session) => unknown;
  /**
   * The former store. Each of its sessions is moved here at its first use. If it takes longer than 5 seconds to answer,
   * the call fails with `ERR_STORE_UNAVAILABLE`. Default: none.
   */
  legacy?: LegacySessionsOptions<Session> | undefined;
}

const READERS = {
  userIdOf: checkFunction<(session: object) => unknown>,
  legacy: optional((_name, value) => readOptions('legacy', value as object, LEGACY_READERS, ''), null),
} satisfies Readers<ExpressSessionStoreOptions>;

const LEGACY_READERS = {
  store: readStore,
  authenticatedAt: optional(checkFunction<(session: object) => unknown>, () => undefined),
} satisfies Readers<LegacySessionsOptions>;

/**
 * A callback of express-session: takes an error, or `null` and the outcome. Derived from a method, because TypeScript
 * lets callers pass one with narrower parameters, such as express-session's own session type.
 */
export type Callback<Outcome> = {
  /** Receives the error, `null` for none, and the outcome. */
  call(error: unknown, outcome?: Outcome): unknown;
}['call'];

/** A key that makes express-session save an unchanged session and set its cookie. */
const CHANGED_ID = 'tokensession';

/** The manager of a store, for `continueSession()`. */
let managerOf: <Session extends object>(store: ExpressSessionStore<Session>) => TokenManager<unknown>;

/**
 * A store for express-session that keeps its sessions with a manager. Applications can still write
 * `req.session.anything = …`. The manager lists, limits, ends and bans these sessions, and emits events about them.
 * Works with express-session 1.17.3 and later.
 *
 * A save writes only the top-level keys that the request changed. It writes nothing into an ended session. When the
 * user of a session changes, the session gets a new id, and the same response sets its cookie.
 *
 * A login may be refused, as by `TokenManager.createSession`: with `ERR_TOO_MANY_SESSIONS`, for example. Later saves of
 * that login in the same session do nothing, and report no error: call `regenerate()` before another try.
 *
 * A session lives for its `cookie.maxAge`. Without that, it lives for the manager's `ttl`, or `visitorTtl` without a
 * user. The manager's `maxDataBytes` and `maxDataKeys` limit its size.
 *
 * The cookie of express-session signs users in, as a token does. Its `secret` must be as strong as the manager's, must
 * differ from it, and must sign nothing else.
 *
 * Each method takes a callback; without one it returns a promise.
 *
 * @example
 * const store = new ExpressSessionStore(manager, { userIdOf: (session) => session.passport?.user });
 * app.use(session({ store, … }));
 */
export class ExpressSessionStore<Session extends object = PassportSession> extends Store {
  readonly #manager: TokenManager<unknown>;
  readonly #sessions: ExpressSessions;
  #generate: ((request: SessionRequest) => void) | undefined;

  static {
    managerOf = (store) => store.#manager;
  }

  /** @throws TypeError naming the argument or option that is missing, unknown or of the wrong kind. */
  constructor(manager: TokenManager<unknown>, options: ExpressSessionStoreOptions<Session>) {
    super();
    checkManager('ExpressSessionStore', manager);
    const { userIdOf, legacy } = readOptions('ExpressSessionStore', options, READERS);
    const checkedUserIdOf = (session: object) => userIn(userIdOf(session));
    const requests = requestSessionsOf(manager);
    const former =
      legacy &&
      new LegacySessions(requests.named, {
        store: legacy.store,
        userIdOf: checkedUserIdOf,
        provedAtOf: (session) => readMoment(legacy.authenticatedAt(session)),
      });
    this.#manager = manager;
    this.#sessions = new ExpressSessions(manager, checkedUserIdOf, former);
  }

  /** Reads a live session and slides it. `null` when there is none. */
  get(sid: string, callback?: Callback<object | null>): Promise<object | null> | undefined {
    return settle(this.#sessions.find(sid), callback);
  }

  /** Saves the keys of a session that have changed since it was read. Writes nothing into an ended session. */
  set(sid: string, session: object, callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.save(sid, session), callback);
  }

  /** Ends a session. Does nothing when there is none. */
  destroy(sid: string, callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.end(sid), callback);
  }

  /** Slides a session. Makes no call for one that `get` returned, unless its `cookie` has changed. */
  touch(sid: string, session: object, callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.touch(sid, session), callback);
  }

  /**
   * Lists all live sessions of the manager's store, each with an `id` for `destroy`. For development and tests: it
   * scans all keys, in Redis with SCAN on every master. Fails with a RangeError when there are more than 10,000.
   */
  all(callback?: Callback<object | null>): Promise<object[]> | undefined {
    return settle(this.#sessions.all(), callback);
  }

  /** Counts the live sessions of the manager's store. Scans all keys, as {@link all} does, but has no limit. */
  length(callback?: Callback<number>): Promise<number> | undefined {
    return settle(this.#sessions.count(), callback);
  }

  /** Ends all sessions of the manager's store, also those that `sessionMiddleware` or the manager started. */
  clear(callback?: Callback<void>): Promise<void> | undefined {
    return settle(this.#sessions.endAll(), callback);
  }

  /** Makes the request's session object from the content that `get` returned. */
  override createSession<Content extends object>(request: object, session: Content): Content & SessionMethods {
    const req = request as SessionRequest;
    const known = tracked.get(session);
    const original = super.createSession(request, session);
    if (known?.owner !== this.#sessions) return original;
    if (req.sessionID !== known.identity.id) {
      req.sessionID = known.identity.id;
      Object.assign(session, { [CHANGED_ID]: true });
    }
    return placeSession(req, original, this.#sessions, known.identity, known.stored) as Content & SessionMethods;
  }

  /** Replaces the session of a request. If the old session can't be ended, the request and its cookie keep it. */
  override regenerate(request: object, callback: (error?: unknown) => unknown): void {
    const req = request as SessionRequest;
    const isVisitor = !isNamedId(req.sessionID);
    this.destroy(req.sessionID, (error: unknown) => {
      // A visitor's session that ends for another one is no logout, which replicas would have to confirm.
      if (error && !(isVisitor && isUnconfirmed(error))) return callback(error);
      this.generate?.(req);
      callback();
    });
  }

  /**
   * Starts the session of a request. express-session's middleware sets this function.
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
      placeSession(request, request.session ?? {}, this.#sessions, { id, name: nameOf(id), userId: null }, null);
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
 * Makes a middleware that opens express-session's session in `sessionMiddleware`, for an application that leaves
 * express-session. Mount it behind both, which need the same manager.
 *
 * It acts when `sessionMiddleware` has found no user. It then sets the cookie of `sessionMiddleware` for the session
 * that express-session has, a visitor's too. Both cookies then open the same session with the same data. Remove
 * express-session once every live session has a second cookie.
 *
 * A login or logout of `sessionMiddleware` ends the user's session that express-session has. Browsers may drop
 * express-session's cookie first. A login through express-session then ends the session in the other cookie, and goes
 * on in both. A planted cookie of express-session moves no user whom `sessionMiddleware` has found.
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
  const manager = managerOf(store);
  const { named } = requestSessionsOf(manager);
  const place = SessionPlace.of('req', property);
  return (request, _response, next) => {
    const ours = place.sessionOf(request);
    if (ours === undefined) return next(new TypeError(`continueSession: there is no req.${property}, see its option`));
    if (!isManagedBy(ours, manager)) return next(new TypeError(`continueSession: req.${property} has another manager`));
    const current = currentOf(ours);
    /** The live session of express-session at the moment, unless both have the same one. */
    const beside = () => {
      const { session } = request as SessionRequest;
      const known = session ? tracked.get(session) : undefined;
      return session && known?.stored?.isLive && known.identity.name.sid !== ours.id
        ? { session, ...known.identity }
        : null;
    };
    // Asked at each login and logout, since the handler may log in through express-session before.
    current.tokenBeside = () => {
      const found = beside();
      return found === null || found.userId === null ? null : named.endingTokenOf(found.name);
    };
    const found = ours.user === null ? beside() : null;
    // One visitor does not take the place of another.
    if (found === null || (ours.id !== null && found.userId === null)) return next();
    const { maxAge } = (found.session as { cookie: { maxAge?: unknown } }).cookie;
    named
      .tokenOf(found.name)
      .then((token) => (token === null ? undefined : adoptSession(current, token, typeof maxAge === 'number')))
      .then(() => next(), next);
  };
}

/** Calls back outside of the promise, so that an error thrown by the callback is not taken for one of the call. */
function settle<Outcome>(outcome: Promise<Outcome>, callback?: Callback<never>): Promise<Outcome> | undefined {
  const safe = outcome.catch((error: unknown) => {
    throw withoutMeaning(error);
  });
  if (typeof callback !== 'function') {
    // The caller sees a failure in the promise; without this line, an ignored one would end the process.
    safe.catch(() => undefined);
    return safe;
  }
  safe.then(
    (value) => process.nextTick(callback, null, value),
    (error) => process.nextTick(callback, error),
  );
  return undefined;
}

/** Replaces an error with the code `ENOENT`, which express-session reads as a missing session. */
function withoutMeaning(error: unknown): unknown {
  if ((error as { code?: unknown } | null)?.code !== 'ENOENT') return error;
  return new SessionError('ERR_STORE_UNAVAILABLE', 'the store can not be asked', { cause: error });
}

function userIn(value: unknown): string | null {
  if (value === undefined || value === null || value === false || value === '') return null;
  return readUserId('what userIdOf gives', value);
}

function readMoment(value: unknown): number {
  const moment = value instanceof Date || typeof value === 'string' ? new Date(value).getTime() : value;
  // A time in the future is a mistake: in another unit, for example.
  return typeof moment === 'number' && moment > 0 && moment <= Date.now() ? Math.floor(moment) : 0;
}

function readStore(name: string, store: unknown): AnyStore {
  const { get, destroy, sendCommand } = (store ?? {}) as Partial<AnyStore> & { sendCommand?: unknown };
  const isClient = typeof sendCommand === 'function';
  if (!isClient && typeof get === 'function' && typeof destroy === 'function') return store as AnyStore;
  const given = isClient ? 'a Redis client: pass a store that was made with it' : kindOf(store);
  throw new TypeError(`${name} must be a store of express-session, got ${given}`);
}

import { randomBytes } from 'node:crypto';
import { callbackify } from 'node:util';
import { checkSeconds, optional, type Readers, readOptions } from '../errors/arguments';
import { checkProperty } from '../http/session/middleware-options';
import { chosenSession } from '../http/session/session-place';

/** For errors of a request without a session. */
const CALLER = 'tokensession/passport';

/** The key of the session's data that holds the flows. */
const KEY = 'oauth';

/** The most flows of one session at a time, in several tabs for example. A further one evicts the oldest. */
const MAX_FLOWS = 10;

/** A callback of passport-oauth2: takes an error, or the result. */
type Callback = (error: unknown, ok?: unknown, state?: unknown) => void;

/** Options of {@link oauthStateStore}. */
export interface OAuthStateStoreOptions {
  /** Seconds until a flow expires: the time that a user may take at the provider. Default 600. */
  ttl?: number | undefined;
  /** The option `property` of `sessionMiddleware()`. A request with several sessions needs it. Default: its only one. */
  property?: string | undefined;
}

const READERS = {
  ttl: optional(checkSeconds, 600),
  property: optional(checkProperty, null),
} satisfies Readers<OAuthStateStoreOptions>;

/**
 * A state store for passport-oauth2, which counts the parameters of these functions. The last argument of a call is the
 * callback: earlier versions, and other strategies, may leave out arguments before it.
 */
export interface OAuthStateStore {
  /** Begins a flow: stores its state and PKCE verifier, and passes its handle to the callback. */
  store(request: object, ...rest: never[]): void;
  /** Finishes a flow: checks the handle, and passes the verifier to the callback. */
  verify(request: object, ...rest: never[]): void;
}

interface Flow {
  handle: string;
  verifier?: unknown;
  state?: unknown;
  until: number;
}

/**
 * Makes the option `store` of passport-oauth2 and of strategies built on it. Keeps state and PKCE verifier in the data
 * of the request's session, which is a visitor's when no user is signed in. Each flow can be finished once, by the
 * browser that began it, within `ttl`. A session holds ten flows; a further one evicts the oldest. A login ends all.
 *
 * @throws TypeError or RangeError naming the option that is unknown or of the wrong kind.
 * @example
 * passport.use(new OAuth2Strategy({ …, pkce: true, state: true, store: oauthStateStore() }, verify));
 */
export function oauthStateStore(options?: OAuthStateStoreOptions): OAuthStateStore {
  const { ttl, property } = readOptions('oauthStateStore', options, READERS);
  return {
    store: (request: object, verifier: unknown, state: unknown, meta: unknown, callback: unknown) => {
      const given = typeof callback === 'function' ? { verifier, state } : {};
      const begin = callbackify(() => beginFlow(request, property, ttl, given));
      begin(lastOf(verifier, state, meta, callback));
    },
    verify: (request: object, handle: unknown, meta: unknown, callback: unknown) => {
      const done = lastOf(meta, callback);
      callbackify(() => finishFlow(request, property, handle))((error, flow) => {
        if (error !== null) done(error);
        else if (flow === null) done(null, false, { message: 'Invalid authorization request state.' });
        else done(null, flow.verifier ?? true, flow.state);
      });
    },
  };
}

function lastOf(...given: readonly unknown[]): Callback {
  return given.findLast((one) => typeof one === 'function') as Callback;
}

async function beginFlow(
  request: object,
  property: string | null,
  ttl: number,
  given: Pick<Flow, 'verifier' | 'state'>,
): Promise<string> {
  const flow: Flow = {
    handle: randomBytes(24).toString('base64url'),
    ...given,
    until: Date.now() + 1000 * ttl,
  };
  const { data } = chosenSession(request, property, CALLER);
  await data.update(KEY, (flows) => [...going(flows).slice(1 - MAX_FLOWS), flow]);
  return flow.handle;
}

/** Removes and returns a flow; `null` when the session has none with that handle. */
async function finishFlow(request: object, property: string | null, handle: unknown): Promise<Flow | null> {
  let found: Flow | null = null;
  const { data } = chosenSession(request, property, CALLER);
  await data.update(KEY, (flows) => {
    found = going(flows).find((flow) => flow.handle === handle) ?? null;
    const others = going(flows).filter((flow) => flow !== found && flow.handle !== handle);
    return others.length === 0 ? undefined : others;
  });
  return found;
}

function going(flows: unknown): Flow[] {
  return Array.isArray(flows) ? (flows as Flow[]).filter(({ until }) => until > Date.now()) : [];
}

import { randomBytes } from 'node:crypto';
import { checkSeconds, oneOf, optional, type Readers, readOptions } from '../errors/arguments';
import { requestSession } from './session-data';

/** The key of the session's data that holds what a flow needs when the browser comes back. */
const KEY = 'oauth';

/** Flows of one session that may go on at a time, in several tabs say: the oldest gives way. */
const MAX_FLOWS = 10;

/** What passport-oauth2 calls with an error, or with what it asked for. */
type Callback = (error: unknown, ok?: unknown, state?: unknown) => void;

/** Options of {@link oauthStateStore}. */
export interface OAuthStateStoreOptions {
  /** Seconds that a user may take at the provider. Default 600. */
  ttl?: number | undefined;
  /**
   * With how many arguments the strategy calls `store`: `'pkce'` for five, as passport-oauth2 1.5 and later does with
   * PKCE and without; `'plain'` for three. Default `'pkce'`.
   */
  calls?: 'pkce' | 'plain' | undefined;
}

const READERS = {
  ttl: optional(checkSeconds, 600),
  calls: optional(oneOf('pkce', 'plain'), 'pkce'),
} satisfies Readers<OAuthStateStoreOptions>;

/** A state store as passport-oauth2 takes it. It counts the arguments that the functions declare. */
export interface OAuthStateStore {
  /** Begins a flow: stores its state and verifier. */
  store(request: object, ...rest: never[]): void;
  /** Finishes a flow: checks the state, and gives the verifier. */
  verify(request: object, ...rest: never[]): void;
}

/** A flow that goes on. */
interface Flow {
  handle: string;
  verifier?: string;
  state?: unknown;
  until: number;
}

/**
 * Makes what passport-oauth2, and each strategy built on it, takes as `store`: it keeps state and PKCE verifier in the
 * data of the request's session, a visitor's where no user is signed in. Each flow can be finished once, by the browser
 * that began it, within `ttl`.
 *
 * @throws TypeError or RangeError naming the option that is unknown or of the wrong kind.
 * @example
 * passport.use(new OAuth2Strategy({ …, pkce: true, state: true, store: oauthStateStore() }, verify));
 */
export function oauthStateStore(options?: OAuthStateStoreOptions): OAuthStateStore {
  const { ttl, calls } = readOptions('oauthStateStore', options, READERS);
  const begin = (request: object, state: unknown, callback: Callback, verifier?: string) =>
    settle(beginFlow(request, { verifier, state, ttl }), callback, (handle) => callback(null, handle));
  const finish = (request: object, handle: unknown, callback: Callback) =>
    settle(finishFlow(request, handle), callback, (flow) => {
      if (flow === null) callback(null, false, { message: 'Invalid authorization request state.' });
      else callback(null, flow.verifier ?? true, flow.state);
    });
  if (calls === 'plain') {
    return {
      store: (request: object, _meta: unknown, callback: Callback) => begin(request, undefined, callback),
      verify: (request: object, handle: unknown, callback: Callback) => finish(request, handle, callback),
    };
  }
  return {
    store: (request: object, verifier: string | undefined, state: unknown, _meta: unknown, callback: Callback) =>
      begin(request, state, callback, verifier),
    verify: (request: object, handle: unknown, _meta: unknown, callback: Callback) => finish(request, handle, callback),
  };
}

async function beginFlow(
  request: object,
  { verifier, state, ttl }: { verifier: string | undefined; state: unknown; ttl: number },
): Promise<string> {
  const flow: Flow = {
    handle: randomBytes(24).toString('base64url'),
    ...(verifier !== undefined && { verifier }),
    ...(state !== undefined && { state }),
    until: Date.now() + 1000 * ttl,
  };
  await requestSession(request).data.update(KEY, (flows) => [...going(flows).slice(1 - MAX_FLOWS), flow]);
  return flow.handle;
}

/** Gives the flow and forgets it; `null` when the session has none of that handle. */
async function finishFlow(request: object, handle: unknown): Promise<Flow | null> {
  let found: Flow | null = null;
  await requestSession(request).data.update(KEY, (flows) => {
    found = going(flows).find((flow) => flow.handle === handle) ?? null;
    const others = going(flows).filter((flow) => flow !== found && flow.handle !== handle);
    return others.length === 0 ? undefined : others;
  });
  return found;
}

/** The flows whose time is not up. */
function going(flows: unknown): Flow[] {
  return Array.isArray(flows) ? (flows as Flow[]).filter(({ until }) => until > Date.now()) : [];
}

/** Calls back outside of the promise, where an error of the callback is one of its own. */
function settle<Outcome>(outcome: Promise<Outcome>, failed: Callback, done: (outcome: Outcome) => void): void {
  outcome.then(
    (value) => process.nextTick(done, value),
    (error) => process.nextTick(failed, error),
  );
}

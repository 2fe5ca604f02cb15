import { checkOptions, kindOf, type Read, type Readers, readOptions } from '../errors/arguments';
import { SessionError, sessionEnded } from '../errors/session-error';
import type { TokenManager } from '../manager/token-manager';
import type { Session } from '../manager/types';
import { isVisitor } from '../token/token';
import type { CookieOptions } from './cookies/cookie-options';
import { CONNECTION, type Connection } from './exchange/connection';
import { type Exchange, hostIn, isRepeatedIn } from './exchange/exchange';
import { type SessionPolicy, sessionPolicy } from './session/middleware-options';
import { type CrossOriginOptions, foreignOriginRefusal } from './tokens/origin-check';
import { candidatesOf, tokenConflict } from './tokens/request-tokens';
import type { HeaderOption } from './tokens/token-header';

/**
 * Options of {@link authenticator}. They have the meaning that they have in `sessionMiddleware()`.
 */
export interface AuthenticatorOptions extends CrossOriginOptions {
  /** The cookie that carries the token, or `false` for none. Default: see {@link CookieOptions}. */
  cookie?: CookieOptions | false | undefined;
  /** The header that may carry the token, or `false` for none. Default `'authorization'`, `Bearer`. */
  header?: HeaderOption | undefined;
}

const OPTIONS: Record<keyof AuthenticatorOptions, true> = {
  cookie: true,
  header: true,
  crossOrigin: true,
  trustedOrigins: true,
};

interface HeaderGetter {
  get(name: string): string | null;
}

/** A request that opens a connection: Node's request of an `upgrade`, Socket.IO's `socket.request`, or a `Request`. */
export interface ConnectionRequest {
  readonly headers: HeaderGetter | Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly rawHeaders?: readonly string[];
  readonly url?: string | undefined;
  readonly socket?: unknown;
}

/** Facts that the request does not contain. `ip` is not used; it lets the function that serves an opener serve here. */
export interface ConnectionDetails extends Connection {
  /**
   * A token from outside of the headers: Socket.IO's `socket.handshake.auth.token`, or a first message. Values of any
   * type are allowed. A signed token here is the only one used, and is accepted from any origin, because no browser
   * adds it.
   */
  token?: unknown;
}

const DETAILS = { ...CONNECTION, token: (_name, value) => value } satisfies Readers<ConnectionDetails>;

/** The session of a connection; or the error, with the `status` of an HTTP answer. `docs/live.md` has the codes. */
export type Authentication<Detail = unknown> =
  | { session: Session<Detail>; error: null }
  | { session: null; error: SessionError };

/** Authenticates a request that opens a connection. See {@link authenticator}. */
export type Authenticate<Detail = unknown> = (
  request: ConnectionRequest,
  details?: ConnectionDetails,
) => Promise<Authentication<Detail>>;

/**
 * Authenticates requests that open connections: the upgrade to a WebSocket, a handshake of Socket.IO, a stream of
 * events. Reads tokens from the same places as the middleware, in the same order, and slides the session. Sets no
 * cookie.
 *
 * Refuses a page of another origin, with or without a cookie and for every method, unless `trustedOrigins` names it
 * (cross-site WebSocket hijacking: RFC 6455, 10.2). Clients other than browsers send no `Origin`, and are not affected.
 *
 * A bad token or an outage resolves with an `error`. The promise rejects with an error of `getUserInfo`, and with a
 * TypeError for a request or details of the wrong kind.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * const authenticate = authenticator(manager);
 * const { session, error } = await authenticate(req);
 */
export function authenticator<Detail>(
  manager: TokenManager<Detail>,
  options?: AuthenticatorOptions,
): Authenticate<Detail> {
  const policy = sessionPolicy(manager, checkOptions('authenticator', options, OPTIONS), 'authenticator');
  return async (request, details) => {
    const given = readOptions('authenticate', details, DETAILS, '');
    const handshake = new Handshake(request, given);
    try {
      return { session: await lookUp(policy, tokensOf(policy, handshake, given.token)), error: null };
    } catch (error) {
      if (error instanceof SessionError) return { session: null, error };
      throw error;
    }
  };
}

/**
 * The tokens to look up, in turn.
 *
 * @throws SessionError when none may act.
 */
function tokensOf<Detail>(
  { manager, sessions, header, cookies, trustedOrigins }: SessionPolicy<Detail>,
  handshake: Handshake,
  given: unknown,
): readonly string[] {
  const named = [given, header?.read(handshake)].find((token) => manager.isToken(token));
  if (named !== undefined) return [named as string];
  const refusal = foreignOriginRefusal(handshake, trustedOrigins);
  if (refusal !== null) throw refusal;
  const values = cookies?.(handshake.isSecure).user.read(handshake.header('cookie')) ?? [];
  const candidates = candidatesOf(values, sessions);
  if (candidates === null) throw tokenConflict();
  return candidates;
}

/** @throws SessionError for a connection without a live session. */
async function lookUp<Detail>(
  { manager, sessions }: SessionPolicy<Detail>,
  tokens: readonly string[],
): Promise<Session<Detail>> {
  let ended: SessionError | null = null;
  for (const token of tokens) {
    const claims = sessions.readToken(token);
    if (claims === null || isVisitor(claims)) continue;
    const inspection = await manager.inspectToken(token, { touch: true });
    if (inspection.session !== null) return inspection.session;
    ended ??= sessionEnded(inspection);
  }
  throw (
    ended ?? new SessionError('ERR_UNAUTHENTICATED', 'no user is signed in', { body: { error: 'unauthenticated' } })
  );
}

class Handshake implements Pick<Exchange, 'header' | 'isRepeated' | 'host' | 'isSecure'> {
  readonly #request: ConnectionRequest;
  readonly #host: string | undefined;
  readonly isSecure: boolean;

  constructor(request: ConnectionRequest, { secure, host }: Read<typeof DETAILS>) {
    if (typeof request?.headers !== 'object' || request.headers === null) {
      throw new TypeError(`authenticate() needs a request with headers, got ${kindOf(request)}`);
    }
    this.#request = request;
    this.#host = host;
    this.isSecure = secure ?? isEncrypted(request);
  }

  header(name: string): string | undefined {
    const { headers } = this.#request;
    if (isGetter(headers)) return headers.get(name) ?? undefined;
    return Object.hasOwn(headers, name) ? headers[name]?.toString() : undefined;
  }

  isRepeated(name: string): boolean {
    return isRepeatedIn(this.#request.rawHeaders ?? [], name);
  }

  host(): string | undefined {
    const { headers, url = '' } = this.#request;
    // HTTP/2 has a pseudo-header for the host, which `Headers` refuses.
    const authority = isGetter(headers) ? undefined : headers[':authority']?.toString();
    return this.#host ?? authority ?? this.header('host') ?? hostIn(url);
  }
}

function isGetter(headers: ConnectionRequest['headers']): headers is HeaderGetter {
  return typeof headers.get === 'function';
}

function isEncrypted({ socket, url }: ConnectionRequest): boolean {
  const isTls = typeof socket === 'object' && (socket as { encrypted?: unknown } | null)?.encrypted === true;
  return isTls || /^(?:https|wss):/i.test(url ?? '');
}

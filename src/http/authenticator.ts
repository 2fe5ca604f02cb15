import { checkBoolean, checkOptions, kindOf, optional, type Readers, readOptions } from '../errors/arguments';
import { SessionError, sessionEnded } from '../errors/session-error';
import type { TokenManager } from '../manager/token-manager';
import type { Session } from '../manager/types';
import { isVisitor } from '../token/token';
import type { CookieOptions } from './cookie-options';
import type { Exchange } from './exchange';
import { type SessionPolicy, sessionPolicy } from './middleware-options';
import { type CrossOriginOptions, foreignOriginRefusal } from './origin-check';
import { tokenConflict } from './refusal';
import { candidatesOf } from './request-tokens';
import type { HeaderOption } from './token-header';

/** The options of {@link authenticator}: those of the middleware that say where tokens are and who may send them. */
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

/** As much of `Headers` as is used here. */
interface HeaderGetter {
  get(name: string): string | null;
}

/** A request that opens a connection: of Node (an `upgrade`, Socket.IO's `socket.request`), or a `Request`. */
export interface ConnectionRequest {
  readonly headers: HeaderGetter | Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly rawHeaders?: readonly string[];
  readonly url?: string | undefined;
  readonly socket?: unknown;
}

/** What the request itself can't say. */
export interface ConnectionDetails {
  /**
   * A token that came elsewhere than in the headers: Socket.IO's `socket.handshake.auth.token`, or a first message. Any
   * value will do. A token of ours acts alone, from whatever origin: whoever sends it has it.
   */
  token?: unknown;
  /** Whether the client speaks HTTPS, where a proxy ends TLS. Default: whether this connection does. */
  secure?: boolean | undefined;
  /** The host that the client asked for, where a proxy changes it. Default: the header `Host`. */
  host?: string | undefined;
}

const DETAILS = {
  token: (_name, value) => value,
  secure: optional(checkBoolean, undefined),
  host: optional(checkString, undefined),
} satisfies Readers<ConnectionDetails>;

/**
 * The session of a connection, or why there is none, with the `status` of an HTTP answer:
 *
 * | `error.code` | status | |
 * |---|---|---|
 * | `ERR_UNAUTHENTICATED` | 401 | no token of ours came |
 * | `ERR_SESSION_ENDED` | 401 | the session of the token has ended: see its `endReason` and `endMessage` |
 * | `ERR_CROSS_ORIGIN` | 403 | a page of another origin asked for the connection |
 * | `ERR_TOKEN_CONFLICT` | 409 | cookies of several users came |
 * | those of a store that can't answer | 503, 500 | it isn't known who asks |
 */
export type Authentication<Detail = unknown> =
  | { session: Session<Detail>; error: null }
  | { session: null; error: SessionError };

/** Finds out whose connection a request opens. See {@link authenticator}. */
export type Authenticate<Detail = unknown> = (
  request: ConnectionRequest,
  details?: ConnectionDetails,
) => Promise<Authentication<Detail>>;

/**
 * Authenticates the requests that open connections: the upgrade to a WebSocket, a handshake of Socket.IO, a stream of
 * events. Takes tokens where the middleware takes them, in the same order, and slides the session. Sets no cookie.
 *
 * A page of another origin gets no connection, be its method GET and with or without a cookie (cross-site WebSocket
 * hijacking: RFC 6455, 10.2): see the option `trustedOrigins`. A client that is no browser sends no `Origin`, and is
 * not affected.
 *
 * What it gives never rejects for what a client or the store does; it rejects with what `getUserInfo` throws, and with a
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
      const { tokens, error } = judge(policy, handshake, given.token);
      return error === null ? await lookUp(manager, tokens) : { session: null, error };
    } catch (error) {
      if (error instanceof SessionError) return { session: null, error };
      throw error;
    }
  };
}

/** The tokens to look up, in turn, or why none may act. */
function judge<Detail>(
  { manager, header, cookies, trustedOrigins }: SessionPolicy<Detail>,
  handshake: Handshake,
  given: unknown,
): { tokens: readonly string[]; error: SessionError | null } {
  const named = [given, header?.read(handshake)].find((token) => manager.isToken(token));
  if (named !== undefined) return { tokens: [named as string], error: null };
  const refusal = foreignOriginRefusal(handshake, trustedOrigins);
  if (refusal !== null) return { tokens: [], error: refusal };
  const values = cookies?.user.read(handshake.header('cookie'), handshake.isSecure) ?? [];
  const candidates = candidatesOf(values, manager);
  return { tokens: candidates ?? [], error: candidates === null ? tokenConflict() : null };
}

async function lookUp<Detail>(
  manager: TokenManager<Detail>,
  tokens: readonly string[],
): Promise<Authentication<Detail>> {
  let ended: SessionError | null = null;
  for (const token of tokens) {
    const claims = manager.readToken(token);
    if (claims === null || isVisitor(claims)) continue;
    const inspection = await manager.inspectToken(token, { touch: true });
    if (inspection.session !== null) return { session: inspection.session, error: null };
    ended ??= sessionEnded(inspection);
  }
  return { session: null, error: ended ?? nobody() };
}

/** What a request that opens a connection says. */
class Handshake implements Pick<Exchange, 'header' | 'isRepeated' | 'host' | 'isSecure'> {
  readonly #request: ConnectionRequest;
  readonly #host: string | undefined;
  readonly isSecure: boolean;

  constructor(request: ConnectionRequest, { secure, host }: ConnectionDetails) {
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
    const { rawHeaders = [] } = this.#request;
    return rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === name).length > 1;
  }

  host(): string | undefined {
    const { headers, url } = this.#request;
    // HTTP/2 has a pseudo-header for it, which `Headers` does not take.
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

/** The host in the URL of a `Request`, which may have no header for it. */
function hostIn(url = ''): string | undefined {
  return URL.canParse(url) ? new URL(url).host : undefined;
}

/** Any text: it may come from a header. */
function checkString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, got ${kindOf(value)}`);
  return value;
}

function nobody(): SessionError {
  return new SessionError('ERR_UNAUTHENTICATED', 'nobody is signed in', { body: { error: 'unauthenticated' } });
}

/** Why a token is not live, as far as the store remembers. `docs/policies.md` has the meaning of each. */
export type EndReason = 'replaced' | 'revoked' | 'banned' | 'reused' | 'expired' | 'unknown';

/** Why the session of a token is over. */
export interface Ending {
  reason: EndReason;
  /** The message given when the session was revoked or its user banned. Default: none. */
  message?: string;
}

/** The stable codes of a {@link SessionError}, for a `switch`. `docs/errors.md` has the meaning of each. */
export type SessionErrorCode = keyof typeof STATUS;

/** The HTTP status of each code. */
export const STATUS = {
  ERR_STORE_UNAVAILABLE: 503,
  ERR_STORE_TIMEOUT: 503,
  ERR_STORE_CORRUPT: 500,
  ERR_STORE_LAYOUT: 500,
  ERR_NOT_REPLICATED: 503,
  ERR_USER_NOT_FOUND: 401,
  ERR_USER_BANNED: 403,
  ERR_TOO_MANY_SESSIONS: 409,
  ERR_CROSS_ORIGIN: 403,
  ERR_TOKEN_CONFLICT: 409,
  ERR_UNAUTHENTICATED: 401,
  ERR_REAUTHENTICATION_REQUIRED: 403,
  ERR_NO_SESSION: 401,
  ERR_SESSION_ENDED: 401,
  ERR_DATA_TOO_LARGE: 413,
  ERR_DATA_CONFLICT: 409,
  ERR_HEADERS_SENT: 500,
} as const;

/** Options of a {@link SessionError}, besides its code and message. */
interface SessionErrorOptions {
  cause?: unknown;
  headers?: Readonly<Record<string, string>>;
  /** Default: the code's own. */
  status?: number;
  /** Default: `{ error: code }`. */
  body?: Readonly<Record<string, string>>;
  /** Why the session has ended. */
  ended?: Ending;
}

/** Seconds that a client should wait before it tries again. */
const RETRY_AFTER = '1';

/**
 * The error of everything that fails at run time. A programmer's mistake (an argument or option of the wrong kind) is a
 * TypeError or RangeError instead. Message, properties and cause hold no token and no secret.
 */
export class SessionError extends Error {
  override readonly name = 'SessionError';
  /** Stable across versions. */
  readonly code: SessionErrorCode;
  /** The HTTP status; Express, Koa and `sendError` answer with it. */
  readonly status: number;
  /** The HTTP status, by the name that NestJS and Fastify read. */
  readonly statusCode: number;
  /** Whether the client may see the message, as Koa asks: with a status under 500. */
  readonly expose: boolean;
  /**
   * Headers that the middleware adds to the error response: `Retry-After` (RFC 9110, 10.2.3) with a 503, and
   * `WWW-Authenticate` (RFC 9110, 11.6.1) with the 401 of a login where tokens come in `Authorization`.
   */
  declare readonly headers?: Readonly<Record<string, string>>;
  readonly #body: Readonly<Record<string, string>>;
  // TypeScript's own declaration needs the library of ES2022, and projects with an older `target` lack it.
  /** The error that led to this one, such as that of ioredis. Absent for none. */
  declare readonly cause?: unknown;
  /** The result of a call that failed with `ERR_NOT_REPLICATED`, and would have resolved to it. Not printed. */
  declare readonly outcome?: unknown;
  /** The user's key in Redis, if a call with a token met a record that can't be read. Absent otherwise. */
  declare readonly key?: string;
  /** Why the session has ended, of an `ERR_SESSION_ENDED`. */
  declare readonly endReason?: EndReason;
  /** The message given when the session was revoked or its user banned; absent for none. */
  declare readonly endMessage?: string;

  constructor(code: SessionErrorCode, message: string, options: SessionErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {});
    const { headers, status = STATUS[code], body = { error: code }, ended } = options;
    this.code = code;
    this.status = status;
    this.#body = body;
    this.statusCode = this.status;
    this.expose = this.status < 500;
    const retry = this.status === 503 ? { 'Retry-After': RETRY_AFTER } : undefined;
    if (ended !== undefined) {
      this.endReason = ended.reason;
      if (ended.message !== undefined) this.endMessage = ended.message;
    }
    if (headers !== undefined || retry !== undefined) this.headers = { ...retry, ...headers };
  }

  /** The body of an answer, as JSON: `{ error: code }`, or the body that a guard answers with in Express. */
  get body(): Readonly<Record<string, string>> {
    return this.#body;
  }

  /** A new answer with the error's status, headers and body. Hono's own error handling sends it. */
  getResponse(): Response {
    return Response.json(this.#body, { status: this.status, headers: { ...this.headers } });
  }
}

/** Whether the store failed to serve: an error of status 503. */
export function isUnavailable(error: unknown): error is SessionError {
  return error instanceof SessionError && error.status === 503;
}

/** Whether sessions have ended although their call failed, because replicas have not confirmed it. */
export function isUnconfirmed(error: unknown): error is SessionError {
  return error instanceof SessionError && error.code === 'ERR_NOT_REPLICATED';
}

/** Adds the result of the call to an error of unconfirmed replication. */
export function withOutcome(error: unknown, outcome: unknown): unknown {
  return isUnconfirmed(error) ? Object.defineProperty(error, 'outcome', { value: outcome, enumerable: false }) : error;
}

/** Adds the user's key to the error of a record that can't be read. */
export function withKey(error: unknown, key: string): unknown {
  const isUnreadable =
    error instanceof SessionError && (error.code === 'ERR_STORE_CORRUPT' || error.code === 'ERR_STORE_LAYOUT');
  return isUnreadable ? Object.assign(error, { key }) : error;
}

/** The error of every call after `close`. */
export function storeClosed(): SessionError {
  return new SessionError('ERR_STORE_UNAVAILABLE', 'the store is closed');
}

export function sessionEnded(ended: Ending): SessionError {
  const { reason, message } = ended;
  const body = { error: 'unauthenticated', reason, ...(message !== undefined && { message }) };
  return new SessionError('ERR_SESSION_ENDED', `the session has ended: ${reason}`, { ended, body });
}

import type { EndReason } from './end-reason';

/**
 * What went wrong, for a `switch`:
 *
 * | code | status | meaning |
 * |---|---|---|
 * | `ERR_STORE_UNAVAILABLE` | 503 | the store can't be reached or refuses to serve; the session is neither confirmed nor ended |
 * | `ERR_STORE_TIMEOUT` | 503 | no answer within `timeoutMs`; the command may have been carried out, or still be |
 * | `ERR_STORE_CORRUPT` | 500 | the record is not one of ours, or another user's; nothing was overwritten |
 * | `ERR_STORE_LAYOUT` | 500 | this user's record was written by a newer version of this package; nothing was overwritten |
 * | `ERR_NOT_REPLICATED` | 503 | the sessions have ended, but fewer replicas than `durability` asks for have confirmed it in time |
 * | `ERR_USER_NOT_FOUND` | 401 | a login for a user that `getUserInfo` does not know; no session was started |
 * | `ERR_USER_BANNED` | 403 | a login for a user who is banned; no session was started |
 * | `ERR_TOO_MANY_SESSIONS` | 409 | a login over a limit, with `onLimit: 'reject'`; no session was started and none has ended |
 * | `ERR_CROSS_ORIGIN` | 403 | a page of another origin sent a login, or an unsafe request with the session's cookie; nothing was done |
 * | `ERR_TOKEN_CONFLICT` | 409 | cookies of several users came, or of more than three sessions; no session was looked up or ended |
 * | `ERR_UNAUTHENTICATED` | 401 | nobody is signed in, where `requireUser(session)` or `requireRecentLogin` was called, 303 with `redirectTo`; or a live connection comes without a token |
 * | `ERR_REAUTHENTICATION_REQUIRED` | 403 | the user proved who they are too long ago for `requireRecentLogin(session, seconds)` |
 * | `ERR_NO_SESSION` | 401 | a write of session data without a live session, or the move of one that has ended; nothing was written |
 * | `ERR_SESSION_ENDED` | 401 | the session has ended, for the `endReason` of the error: that of a watched session, or of the token of a connection |
 * | `ERR_DATA_TOO_LARGE` | 413 | a session's data would be more than it may; nothing was written |
 * | `ERR_DATA_CONFLICT` | 409 | `data.update()` was overtaken by other requests each time it tried; nothing was written |
 * | `ERR_HEADERS_SENT` | 500 | a login or rotation after the response had begun or its client had gone: its cookie could not be set; of a login, no session is left |
 */
export type SessionErrorCode = keyof typeof STATUS;

const STATUS = {
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

/** What an error is made with, besides its code and message. */
export interface SessionErrorOptions {
  cause?: unknown;
  headers?: Readonly<Record<string, string>>;
  /** Default: the code's own. */
  status?: number;
  /** Default: `{ error: code }`. */
  body?: Readonly<Record<string, string>>;
  /** Why the session has ended. */
  ended?: { reason: EndReason; message?: string | null | undefined };
}

/** Seconds a client is asked to wait before it tries again: an outage is either over soon or long. */
const RETRY_AFTER = '1';

/**
 * The one error class of this package for what happens at run time. A programmer's mistake (an argument or option of
 * the wrong kind) is a TypeError or RangeError instead. Neither message, properties nor cause hold a token or a secret.
 */
export class SessionError extends Error {
  override readonly name = 'SessionError';
  /** Stable across versions. */
  readonly code: SessionErrorCode;
  /** The HTTP status; Express, Koa and `sendError` answer with it. */
  readonly status: number;
  /** The same, by the name that NestJS and Fastify read. */
  readonly statusCode: number;
  /**
   * Whether the message is for the client, as Koa asks: with a status under 500, which is nothing to log as a failure
   * of the service.
   */
  readonly expose: boolean;
  /**
   * Headers of the error response, which the middleware adds to it: `Retry-After` (RFC 9110, 10.2.3) with a 503,
   * `WWW-Authenticate` (RFC 9110, 11.6.1) with the 401 of a login where tokens come in `Authorization`.
   */
  readonly headers?: Readonly<Record<string, string>>;
  readonly #body: Readonly<Record<string, string>>;
  /** What has been done all the same, of an `ERR_NOT_REPLICATED`: what the call would have given. Not printed. */
  declare readonly outcome?: unknown;
  /** Why the session has ended, of an `ERR_SESSION_ENDED`. */
  readonly endReason?: EndReason;
  /** The message given when the session was revoked or its user banned; absent for none. */
  readonly endMessage?: string;

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
      if (ended.message !== undefined && ended.message !== null) this.endMessage = ended.message;
    }
    if (headers !== undefined || retry !== undefined) this.headers = { ...retry, ...headers };
  }

  /** What an answer says, as JSON: `{ error: code }`, of a guard what it answers in Express. */
  get body(): Readonly<Record<string, string>> {
    return this.#body;
  }

  /** A new answer with the error's status, headers and body. Hono's own error handling sends it. */
  getResponse(): Response {
    return Response.json(this.#body, { status: this.status, headers: { ...this.headers } });
  }
}

/** Whether this is the store's failure to serve, as against an answer it gave: the errors of status 503. */
export function isUnavailable(error: unknown): error is SessionError {
  return error instanceof SessionError && error.status === 503;
}

/** Whether sessions have ended although the call that ended them failed: replicas have not confirmed it. */
export function isEnded(error: unknown): error is SessionError {
  return error instanceof SessionError && error.code === 'ERR_NOT_REPLICATED';
}

/** The same error, which brings what was done all the same. */
export function withOutcome(error: unknown, outcome: unknown): unknown {
  return isEnded(error) ? Object.defineProperty(error, 'outcome', { value: outcome, enumerable: false }) : error;
}

/** That a session has ended, and why. */
export function sessionEnded(ended: { reason: EndReason; message?: string | null | undefined }): SessionError {
  const { reason, message } = ended;
  const body = { error: 'unauthenticated', reason, ...(message !== undefined && message !== null && { message }) };
  return new SessionError('ERR_SESSION_ENDED', `the session has ended: ${reason}`, { ended, body });
}

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { SessionError } from './errors/session-error';
import { type Connection, readConnection } from './http/exchange/connection';
import { TARGETED_CACHE_HEADERS } from './http/exchange/reply-headers';
import { openerPolicy, type SessionOpenerOptions } from './http/session/middleware-options';
import { openOnce } from './http/session/opening';
import { RequestSession } from './http/session/request-session';
import type { TokenManager } from './manager/token-manager';
import type { RegisteredDetail } from './manager/types';
import { cutOff, sendJson } from './node-http/node-answer';
import { isResponse, NodeExchange } from './node-http/node-exchange';

export type { Connection } from './http/exchange/connection';
export { requireRecentLogin, requireUser } from './http/guards/guards';
export * from './http/index';
export type { SessionOpenerOptions } from './http/session/middleware-options';

/** A request of `node:http`, `node:https` or `node:http2`. */
export type NodeRequest = IncomingMessage | Http2ServerRequest;
/** A response of `node:http`, `node:https` or `node:http2`. */
export type NodeResponse = ServerResponse | Http2ServerResponse;

/** Opens the session of a request. See {@link sessionOpener}. */
export type OpenSession<Detail = RegisteredDetail> = (
  req: NodeRequest,
  res: NodeResponse,
  connection?: Connection,
) => Promise<RequestSession<Detail>>;

/**
 * Opens sessions for plain `node:http`, `https` and `http2`. By default it takes tokens from `Authorization: Bearer`,
 * and from the cookie `__Host-session` (`session` where a request isn't secure). The socket says whether a request is
 * secure, unless `connection` does. A request without a signed token costs no call to the store; one with a token costs
 * one. Opened again, a request has the same session. A copy of it, or an object that wraps it, has its own. Cookies and
 * headers reach the response by themselves.
 *
 * While the store can't answer, a request with a token fails with a `SessionError` of status 503. An unsafe request of
 * another origin with a token in the cookie fails with one of status 403. `sendError` answers with these errors.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * const openSession = sessionOpener(manager);
 * const session = await openSession(req, res);
 */
export function sessionOpener<Detail>(
  manager: TokenManager<Detail>,
  options?: SessionOpenerOptions,
): OpenSession<Detail> {
  const policy = openerPolicy(manager, options);
  return openOnce((req: NodeRequest, res: NodeResponse, connection?: Connection) => {
    if (typeof req?.headers !== 'object') throw new TypeError('openSession() needs a request of node:http');
    if (!isResponse(res)) throw new TypeError('openSession() needs the response, as in openSession(req, res)');
    return new RequestSession(policy, new HttpExchange(req, res, connection));
  });
}

/** Headers about the body that the handler meant to send. Node throws for a `Trailer` beside a `Content-Length`. */
const BODY_HEADERS = [
  'Accept-Ranges',
  'Cache-Control',
  'Content-Digest',
  'Content-Disposition',
  'Content-Encoding',
  'Content-Language',
  'Content-Location',
  'Content-Range',
  'ETag',
  'Expires',
  'Last-Modified',
  'Repr-Digest',
  'Trailer',
  ...TARGETED_CACHE_HEADERS,
];

/** The answer to a failure that is none of this package. */
const UNEXPECTED = { status: 500, headers: {}, body: { error: 'internal_server_error' } };

/**
 * Answers a failed request with the error's status, headers and body, as JSON. Any other value than a `SessionError`
 * gets 500 and `{ "error": "internal_server_error" }`, without its message: log it. Drops the status message of the
 * handler, and headers about the body that it meant to send. Cuts off a response that has begun; leaves one that is
 * complete.
 */
export function sendError(res: NodeResponse, error: unknown): void {
  if (cutOff(res)) return;
  const { status, headers = {}, body } = error instanceof SessionError ? error : UNEXPECTED;
  for (const name of BODY_HEADERS) res.removeHeader(name);
  // It belongs to another status, and may be what HTTP can't carry. HTTP/2 has none, and warns of a look at it.
  if (!('stream' in res)) res.statusMessage = '';
  sendJson(res as ServerResponse, status, headers, body);
}

class HttpExchange extends NodeExchange {
  readonly #connection: ReturnType<typeof readConnection>;

  constructor(req: NodeRequest, res: NodeResponse, connection: Connection | undefined) {
    super(req as IncomingMessage, res as ServerResponse);
    this.#connection = readConnection(connection);
  }

  get isSecure(): boolean {
    return this.#connection.secure ?? (this.req.socket as Partial<TLSSocket> | undefined)?.encrypted === true;
  }

  ip(): string | undefined {
    const { ip = this.req.socket?.remoteAddress } = this.#connection;
    return ip ?? undefined;
  }

  /** HTTP/2 has a pseudo-header for it. */
  host(): string | undefined {
    const { headers } = this.req;
    return this.#connection.host ?? headers[':authority']?.toString() ?? headers.host;
  }
}

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { type Exchange, isRepeatedIn } from '../http/exchange';
import type { Refusal } from '../http/guards/refusal';
import type { ReplyHeaders } from '../http/reply-headers';
import { divertAnswer } from './diverted-answer';
import { replyOf } from './node-reply';
import { onceClosed } from './once-closed';

/**
 * The common part of hosts on Node's requests and responses. Without a response (a WebSocket's context, an `upgrade`
 * handler) the request is anonymous: neither a cookie nor an error could reach its client.
 */
export abstract class NodeExchange implements Exchange {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse | null;
  /** Read once: a look at any property of an Express request misses V8's caches, and costs half a microsecond. */
  readonly #headers: IncomingHttpHeaders;

  constructor(req: IncomingMessage, res: ServerResponse | undefined) {
    this.#req = req;
    this.#res = isResponse(res) ? res : null;
    this.#headers = this.#res === null ? NO_HEADERS : req.headers;
  }

  abstract readonly url: string;
  abstract readonly isSecure: boolean;
  abstract host(): string | undefined;
  abstract ip(): string | undefined;

  /** `method-override` keeps the client's method in `originalMethod`. */
  get method(): string {
    return (this.#req as { originalMethod?: string }).originalMethod ?? this.handledMethod;
  }

  get handledMethod(): string {
    return this.#req.method ?? 'GET';
  }

  header(name: string): string | undefined {
    return this.#headers[name]?.toString();
  }

  isRepeated(name: string): boolean {
    return isRepeatedIn(this.#req.rawHeaders, name);
  }

  isTooLate(): boolean {
    return this.#res === null || this.#res.headersSent || this.#req.socket?.destroyed === true;
  }

  reply(): ReplyHeaders | null {
    return this.#res === null ? null : replyOf(this.#res);
  }

  onClose(listener: () => void): void {
    if (this.#res === null) listener();
    else onceClosed(this.#req.socket, this.#res, listener);
  }

  /** Passes an error to the host in the place of the application's answer. */
  protected divertTo(next: (error: Error) => void, error: Error): void {
    if (this.#res === null) next(error);
    else divertAnswer(this.#res, next, error);
  }
}

const NO_HEADERS: IncomingHttpHeaders = {};

export function isResponse(res: unknown): res is ServerResponse {
  return typeof (res as ServerResponse | null | undefined)?.setHeader === 'function';
}

export function sendJson(res: ServerResponse, status: number, headers: Refusal['headers'], body: object): void {
  setRefusalHeaders(res, headers);
  const text = JSON.stringify(body);
  res.statusCode = status;
  res.setHeader('Content-Type', 'application/json; charset=utf-8');
  // A message with both is malformed (RFC 9112, 6.2).
  if (res.getHeader('Transfer-Encoding') === undefined) res.setHeader('Content-Length', Buffer.byteLength(text));
  res.end(text);
}

/** RFC 9113, 7. */
const INTERNAL_ERROR = 2;

interface CuttableResponse {
  headersSent: boolean;
  writableEnded: boolean;
  destroy(): unknown;
  /** Of HTTP/2. */
  stream?: { close(code: number): unknown };
}

/**
 * Cuts off a response that has begun and takes no other status any more, so that its client does not take it for whole.
 * A response that was ended stays.
 *
 * @returns whether it had begun.
 */
export function cutOff(res: CuttableResponse): boolean {
  if (res.headersSent && !res.writableEnded) {
    // Over HTTP/2, destroy() closes the stream without an error, as after a whole response.
    if (res.stream === undefined) res.destroy();
    else res.stream.close(INTERNAL_ERROR);
  }
  return res.headersSent;
}

/** Sets the headers of a refusal. Adds to a `Vary` that is there. */
export function setRefusalHeaders(res: ServerResponse, headers: Refusal['headers']): void {
  for (const [name, value] of Object.entries(headers)) {
    const earlier = name === 'Vary' ? res.getHeader(name) : undefined;
    res.setHeader(name, earlier === undefined ? value : `${String(earlier)}, ${value}`);
  }
}

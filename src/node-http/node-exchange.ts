import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { type Exchange, isRepeatedIn } from '../http/exchange/exchange';
import type { ReplyHeaders } from '../http/exchange/reply-headers';
import { divertAnswer } from './diverted-answer';
import { replyOf } from './node-reply';
import { hasClosed, onceClosed } from './once-closed';

/**
 * The common part of hosts on Node's requests and responses. Without a response (a WebSocket's context, an `upgrade`
 * handler) the request is anonymous: neither a cookie nor an error could reach its client.
 */
export abstract class NodeExchange implements Exchange {
  protected readonly req: IncomingMessage;
  readonly #res: ServerResponse | null;
  /** Read once: a look at any property of an Express request misses V8's caches, and costs half a microsecond. */
  readonly #headers: IncomingHttpHeaders;

  constructor(req: IncomingMessage, res: ServerResponse | undefined) {
    this.req = req;
    this.#res = isResponse(res) ? res : null;
    this.#headers = this.#res === null ? NO_HEADERS : req.headers;
  }

  abstract readonly isSecure: boolean;
  abstract host(): string | undefined;
  abstract ip(): string | undefined;

  /** Routers and rewritings of the URL keep the client's own in `originalUrl`. */
  get url(): string {
    return (this.req as { originalUrl?: string }).originalUrl ?? this.req.url ?? '/';
  }

  /** `method-override` keeps the client's method in `originalMethod`. */
  get method(): string {
    return (this.req as { originalMethod?: string }).originalMethod ?? this.handledMethod;
  }

  get handledMethod(): string {
    return this.req.method ?? 'GET';
  }

  header(name: string): string | undefined {
    return this.#headers[name]?.toString();
  }

  isRepeated(name: string): boolean {
    return isRepeatedIn(this.req.rawHeaders, name);
  }

  isTooLate(): boolean {
    return this.#res === null || this.#res.headersSent || hasClosed(this.req.socket, this.#res);
  }

  reply(): ReplyHeaders | null {
    return this.#res === null ? null : replyOf(this.#res);
  }

  onClose(listener: () => void): void {
    if (this.#res === null) listener();
    else onceClosed(this.req.socket, this.#res, listener);
  }

  /** Passes an error to the host in the place of the application's answer. */
  protected divertTo(next: (error: Error) => void, error: Error): void {
    if (this.#res === null) {
      next(error);
      return;
    }
    // First, because the diversion puts back the `writeHead` that it finds: a later login needs the one of the reply.
    replyOf(this.#res);
    divertAnswer(this.#res, next, error);
  }
}

const NO_HEADERS: IncomingHttpHeaders = {};

export function isResponse(res: unknown): res is ServerResponse {
  return typeof (res as ServerResponse | null | undefined)?.setHeader === 'function';
}

import { type Connection, readConnection } from '../http/exchange/connection';
import { type Exchange, hostIn } from '../http/exchange/exchange';
import type { ReplyHeaders } from '../http/exchange/reply-headers';
import type { FetchReply } from './fetch-reply';

/** The used part of a `Request`. */
export interface FetchRequest {
  readonly method: string;
  /** Absolute. */
  readonly url: string;
  readonly headers: Headers;
  readonly signal?: AbortSignal;
}

/** The common part of hosts with `Request` and `Response`. */
export class FetchExchange implements Exchange {
  readonly #request: FetchRequest;
  readonly #connection: ReturnType<typeof readConnection>;
  readonly #reply: FetchReply;

  /** @throws TypeError for a member of the connection that is unknown or of the wrong kind. */
  constructor(request: FetchRequest, connection: Connection | undefined, reply: FetchReply) {
    this.#request = request;
    this.#connection = readConnection(connection);
    this.#reply = reply;
  }

  get method(): string {
    return this.#request.method;
  }

  get handledMethod(): string {
    return this.#request.method;
  }

  get url(): string {
    const { url } = this.#request;
    const path = url.indexOf('/', url.indexOf('//') + 2);
    return path === -1 ? '/' : url.slice(path);
  }

  get isSecure(): boolean {
    return this.#connection.secure ?? /^https:/i.test(this.#request.url);
  }

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  /** Values of repeated headers are joined here: neither a token nor an origin. */
  isRepeated(): boolean {
    return false;
  }

  host(): string | undefined {
    return this.#connection.host ?? this.header('host') ?? hostIn(this.#request.url);
  }

  ip(): string | undefined {
    const { ip = this.remoteAddress } = this.#connection;
    return ip ?? undefined;
  }

  /** What the host knows of the client's address. */
  protected get remoteAddress(): string | undefined {
    return undefined;
  }

  isTooLate(): boolean {
    return this.#reply.isCommitted || this.#request.signal?.aborted === true;
  }

  reply(): ReplyHeaders | null {
    return this.#reply.get();
  }

  /** See {@link FetchReply.commit}. */
  commit(response: Response): Response {
    return this.#reply.commit(response);
  }

  onClose(listener: () => void): void {
    const { signal } = this.#request;
    if (signal?.aborted === true) {
      listener();
      return;
    }
    // Nothing reads the body of an answer to HEAD.
    this.#reply.onClose(listener, this.method !== 'HEAD');
    signal?.addEventListener('abort', listener, { once: true });
  }
}

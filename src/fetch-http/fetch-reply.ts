import { SessionError } from '../errors/session-error';
import { privateField } from '../http/exchange/private-field';
import { type HeaderFields, ReplyHeaders } from '../http/exchange/reply-headers';

const replies = privateField<FetchReply>();

/** The headers that this package adds to the response of each request, or context. */
export function replyTo(request: object): FetchReply {
  const present = replies.get(request);
  if (present !== undefined) return present;
  const reply = new FetchReply();
  replies.add(request, reply);
  return reply;
}

/** Puts the headers of this package on the `Response` that is sent. */
class FetchReply implements HeaderFields {
  /** Those of the response; `null` before there is one. */
  #headers: Headers | null = null;
  #reply: ReplyHeaders | null = null;
  /** Whether a response was committed: later headers don't reach its client. */
  isCommitted = false;
  /** In Hono, whether a middleware will commit a response. A failed one won't, even if the application goes on. */
  hasCommitter = false;
  /** The latest response that was committed, and what was sent for it. */
  #latest: { given: Response; sent: Response } | null = null;
  #hasBody = true;
  readonly #closing = new Set<() => void>();

  /** `null` when a response was committed. */
  get(): ReplyHeaders | null {
    if (this.isCommitted) return null;
    this.#reply ??= new ReplyHeaders(this);
    return this.#reply;
  }

  /**
   * Calls the function when the body of the response has been read or cancelled; when the response is committed, if its
   * body is not sent.
   *
   * @throws SessionError when a response was committed, whose body is not observed. Has called the function then.
   */
  onClose(listener: () => void, hasBody: boolean): void {
    if (this.isCommitted) {
      listener();
      const message = 'session.signal came after the response was committed: nothing would end its watch';
      throw new SessionError('ERR_HEADERS_SENT', message);
    }
    this.#hasBody = hasBody;
    this.#closing.add(listener);
  }

  /**
   * The response with the headers of this package. The same one when there are none; otherwise a new one with its body,
   * since a response may have fixed headers, or serve several requests. Committed again, a response gives the same one.
   */
  commit(response: Response): Response {
    this.isCommitted = true;
    // Before anything of the response is read: hosts may make its body and headers only when they are asked for.
    if (this.#reply === null && this.#closing.size === 0) return response;
    // Its body has been taken for the first answer.
    const { given, sent: earlier } = this.#latest ?? {};
    if (earlier !== undefined && (response === given || response === earlier)) return earlier;
    const { status, statusText, body, headers } = response;
    // No constructor makes these: a network error, a switch of protocols.
    if (status < 200) {
      this.#close();
      return response;
    }
    this.#headers = new Headers(headers);
    this.#reply?.send(status);
    const sent = new Response(this.#watched(body), { status, statusText, headers: this.#headers });
    this.#latest = { given: response, sent };
    return sent;
  }

  /** The same body, which reports its end. */
  #watched(body: Response['body']): Response['body'] {
    if (this.#closing.size === 0) return body;
    if (body !== null && this.#hasBody) return closingStream(body, () => this.#close());
    this.#close();
    return body;
  }

  #close(): void {
    for (const listener of this.#closing) listener();
  }

  getHeader(name: string): string | readonly string[] | undefined {
    if (name.toLowerCase() !== 'set-cookie') return this.#headers?.get(name) ?? undefined;
    const lines = this.#headers?.getSetCookie() ?? [];
    return lines.length > 0 ? lines : undefined;
  }

  setHeader(name: string, value: string | readonly string[]): void {
    this.#headers?.delete(name);
    for (const line of [value].flat()) this.#headers?.append(name, line);
  }

  removeHeader(name: string): void {
    this.#headers?.delete(name);
  }
}

function closingStream(body: ReadableStream<Uint8Array>, close: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (!done) return controller.enqueue(value);
          controller.close();
        } catch (error) {
          controller.error(error);
        }
        close();
      },
      cancel(reason) {
        close();
        return reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}

export type { FetchReply };

import { type HeaderFields, ReplyHeaders } from '../http/reply-headers';

const replies = new WeakMap<object, FetchReply>();

/** What this package has the response to a request say. There is one for each request, or context. */
export function replyTo(request: object): FetchReply {
  const reply = replies.get(request) ?? new FetchReply();
  replies.set(request, reply);
  return reply;
}

/** Keeps headers while there is no `Response` yet, and puts them on the one that is sent. */
class FetchReply implements HeaderFields {
  /** Before there is a response: those of this package alone. */
  #headers = new Headers();
  #reply: ReplyHeaders | null = null;
  #isCommitted = false;

  /** Whether a response was committed: what comes later does not reach its client. */
  get isCommitted(): boolean {
    return this.#isCommitted;
  }

  /** `null` when a response was committed. */
  get(): ReplyHeaders | null {
    if (this.#isCommitted) return null;
    this.#reply ??= new ReplyHeaders(this);
    return this.#reply;
  }

  /**
   * The response with the headers of this package: the same one when there are none, else a new one with its body, as
   * a response may have headers that can't be changed, or be one for several requests.
   */
  commit(response: Response): Response {
    this.#isCommitted = true;
    const { status, statusText, body, headers } = response;
    // What no constructor makes: a network error, a switch of protocols.
    if (this.#reply === null || status < 200) return response;
    this.#headers = new Headers(headers);
    this.#reply.send(status);
    return new Response(body, { status, statusText, headers: this.#headers });
  }

  getHeader(name: string): string | readonly string[] | undefined {
    if (name.toLowerCase() !== 'set-cookie') return this.#headers.get(name) ?? undefined;
    const lines = this.#headers.getSetCookie();
    return lines.length > 0 ? lines : undefined;
  }

  setHeader(name: string, value: string | readonly string[]): void {
    this.#headers.delete(name);
    for (const line of [value].flat()) this.#headers.append(name, line);
  }

  removeHeader(name: string): void {
    this.#headers.delete(name);
  }
}

export type { FetchReply };

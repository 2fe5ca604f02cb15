/** The cookies that a browser keeps of a site. Ends with the test. */
export class Browser {
  readonly cookies = new Map<string, string>();
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Another browser with the same cookies: a second tab that does not see the first one's responses. */
  tab(): Browser {
    const tab = new Browser(this.#url);
    for (const [name, value] of this.cookies) tab.cookies.set(name, value);
    return tab;
  }

  get header(): string {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  /** Sends a request without following redirects. Returns the body, parsed if it is JSON. */
  async visit(path: string, { headers = {}, ...init }: RequestInit & { headers?: Record<string, string> } = {}) {
    const cookie = this.cookies.size > 0 ? { Cookie: this.header } : {};
    const answer = await fetch(new URL(path, this.#url), {
      redirect: 'manual',
      ...init,
      headers: { ...cookie, ...headers },
    });
    const lines = answer.headers.getSetCookie();
    for (const line of lines) this.#take(line);
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, lines, text, body: jsonOf(text) };
  }

  #take(line: string): void {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    const expires = /Expires=([^;]+)/i.exec(line)?.[1];
    const isOver = /Max-Age=0/i.test(line) || (expires !== undefined && new Date(expires) <= new Date());
    if (isOver) this.cookies.delete(name);
    else this.cookies.set(name, value);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the test defines the content
function jsonOf(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

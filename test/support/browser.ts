/** Sends a request without following redirects. Returns the body, parsed if it is JSON. */
export async function ask(url: string | URL, init: RequestInit = {}) {
  const answer = await fetch(url, { redirect: 'manual', ...init });
  const { status, headers } = answer;
  const text = await answer.text();
  return { status, headers, setCookie: headers.getSetCookie(), text, body: jsonOf(text) };
}

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

  /** Sends a request as {@link ask} does, with the cookies. */
  async visit(path: string, { headers = {}, ...init }: RequestInit & { headers?: Record<string, string> } = {}) {
    const cookie = this.cookies.size > 0 ? { Cookie: this.header } : {};
    const answer = await ask(new URL(path, this.#url), { ...init, headers: { ...cookie, ...headers } });
    for (const line of answer.setCookie) this.#take(line);
    return answer;
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

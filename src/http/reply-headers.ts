import type { SessionError } from '../errors/session-error';
import { withoutCookies } from './clear-site-data';

/** The headers of a response while they can be changed. Node's `ServerResponse` is one. */
export interface HeaderFields {
  getHeader(name: string): number | string | readonly string[] | undefined;
  setHeader(name: string, value: string | readonly string[]): unknown;
  removeHeader(name: string): unknown;
}

/** `Set-Cookie` lines about one cookie. */
export interface CookieDecision {
  /** The name, domain and path, which tell a cookie from others (RFC 6265, 5.3). */
  cookie: string;
  lines: readonly string[];
  /** Milliseconds after which the decision is too old to be sent. Default: none. */
  freshForMs?: number;
}

const COOKIE = 'Set-Cookie';
const CACHE = 'Cache-Control';
const SITE_DATA = 'Clear-Site-Data';

/**
 * What this package has a response say. It is put into the headers at once, and again whenever they are about to be
 * sent: a handler may have set them anew, a framework may have cleared them for an error. The latest decision about a
 * cookie wins; headers and cookies of the application stay.
 */
export class ReplyHeaders {
  readonly #fields: HeaderFields;
  readonly #decisions = new Map<string, CookieDecision & { until: number }>();
  /** All lines that were ever put there, to tell them from the application's own. */
  readonly #issued = new Set<string>();
  #siteData: readonly string[] = [];
  #error: SessionError | null = null;

  constructor(fields: HeaderFields) {
    this.#fields = fields;
  }

  /**
   * Says this of a cookie, in place of an earlier decision about it. The response is for one client then (RFC 9111,
   * 7.3).
   */
  decide(decision: CookieDecision): void {
    const { cookie, lines, freshForMs = Number.POSITIVE_INFINITY } = decision;
    this.#decisions.delete(cookie);
    this.#decisions.set(cookie, { ...decision, until: performance.now() + freshForMs });
    for (const line of lines) this.#issued.add(line);
    this.#put();
  }

  /**
   * Asks the browser to forget these kinds of data; for an empty list no more, as a cookie that was set since would be
   * among them.
   */
  clearSiteData(kinds: readonly string[]): void {
    const withdrawn = this.#siteData;
    this.#siteData = kinds;
    if (withdrawn.length > 0) {
      const others = listOf(this.#fields.getHeader(SITE_DATA)).filter((kind) => !withdrawn.includes(kind));
      if (others.length > 0) this.#fields.setHeader(SITE_DATA, others.join(', '));
      else this.#fields.removeHeader(SITE_DATA);
    }
    this.#put();
  }

  /** Asks the browser to forget no cookies any more: one was set since. */
  keepCookies(): void {
    if (this.#siteData.length > 0) this.clearSiteData(withoutCookies(this.#siteData));
  }

  /** Adds an error's headers to the answer that has its status, also to one that the application writes. */
  failWith(error: SessionError): void {
    this.#error = error;
  }

  /** For the host: to be called whenever the headers are about to be sent. */
  send(status: number): void {
    const now = performance.now();
    for (const [cookie, { until }] of this.#decisions) if (now > until) this.#decisions.delete(cookie);
    this.#put();
    if (this.#error?.status !== status) return;
    for (const [name, value] of Object.entries(this.#error.headers ?? {})) {
      if (this.#fields.getHeader(name) === undefined) this.#fields.setHeader(name, value);
    }
  }

  #put(): void {
    const fields = this.#fields;
    if (this.#issued.size > 0) {
      const others = [fields.getHeader(COOKIE) ?? []].flat().map(String);
      const ours = [...this.#decisions.values()].flatMap(({ lines }) => lines);
      // Ours come last: of two lines about one cookie a browser goes by the latter.
      const lines = [...others.filter((line) => !this.#issued.has(line)), ...ours];
      if (lines.length > 0) fields.setHeader(COOKIE, lines);
      else fields.removeHeader(COOKIE);
      if (ours.length > 0 && !/\bno-store\b/i.test(String(fields.getHeader(CACHE))))
        fields.setHeader(CACHE, 'no-store');
    }
    if (this.#siteData.length > 0) {
      const kinds = new Set([...listOf(fields.getHeader(SITE_DATA)), ...this.#siteData]);
      fields.setHeader(SITE_DATA, [...kinds].join(', '));
    }
  }
}

function listOf(value: number | string | readonly string[] | undefined): string[] {
  return value === undefined ? [] : String(value).split(/\s*,\s*/);
}

import { parseSetCookie, type SetCookie } from 'cookie';
import type { SessionError } from '../../errors/session-error';
import { withoutCookies } from './clear-site-data';

/** The headers of a response that can still change. Node's `ServerResponse` is one. */
export interface HeaderFields {
  getHeader(name: string): number | string | readonly string[] | undefined;
  setHeader(name: string, value: string | readonly string[]): unknown;
  removeHeader(name: string): unknown;
}

interface CookieDecision {
  /** See {@link cookieIdentity}. */
  cookie: string;
  lines: readonly string[];
  /** Whether the browser has the cookie afterwards; otherwise it is deleted. */
  isSet: boolean;
  /**
   * `null` when a verb asked for it. Otherwise the milliseconds after which it is too old to be sent. It then also
   * gives way to a cookie of the same identity that the response has from elsewhere, such as from the login of a
   * service behind this one.
   */
  freshForMs: number | null;
}

const COOKIE = 'Set-Cookie';
const CACHE = 'Cache-Control';
/** Headers that a content delivery network obeys instead of `Cache-Control` (RFC 9213). */
export const TARGETED_CACHE_HEADERS = [
  'CDN-Cache-Control',
  'Cloudflare-CDN-Cache-Control',
  'Netlify-CDN-Cache-Control',
  'Vercel-CDN-Cache-Control',
  'Akamai-Cache-Control',
  'Surrogate-Control',
];
/** Not `no-store-remote`, which lets the next `Surrogate-Control` cache store the response. */
const NO_STORE = /(?<![\w-])no-store(?![\w-])/i;
const SITE_DATA = 'Clear-Site-Data';

/**
 * The headers that this package adds to a response. It sets them at once, and again whenever the headers are about to
 * be sent: a handler may have replaced them, or a framework cleared them for an error. The latest decision about a
 * cookie wins. Headers and cookies of the application stay.
 */
export class ReplyHeaders {
  readonly #fields: HeaderFields;
  readonly #decisions = new Map<string, CookieDecision & { staleAt: number | null }>();
  /** All lines ever added, which differ from the application's own. */
  readonly #issued = new Set<string>();
  /** The kinds of data to delete, by the middleware that asks for them. */
  readonly #siteData = new Map<object, readonly string[]>();
  /** The kinds that the latest `#put` has added to the application's own. */
  #addedKinds: readonly string[] = [];
  #error: SessionError | null = null;
  #isForOneClient = false;

  constructor(fields: HeaderFields) {
    this.#fields = fields;
  }

  /**
   * Decides about a cookie, and replaces an earlier decision. The response is then for one client only (RFC 9111, 7.3).
   */
  decide(decision: CookieDecision): void {
    const { cookie, lines, freshForMs } = decision;
    this.#decisions.delete(cookie);
    this.#decisions.set(cookie, {
      ...decision,
      staleAt: freshForMs === null ? null : performance.now() + freshForMs,
    });
    for (const line of lines) this.#issued.add(line);
    this.#put();
  }

  /**
   * Asks the browser to delete these kinds of data, but no cookies where a verb sets one in the same response.
   *
   * @param asker the policy of the session. It replaces what it asked for before: an empty list takes that back.
   */
  clearSiteData(asker: object, kinds: readonly string[]): void {
    this.#siteData.set(asker, kinds);
    this.#put();
  }

  /** Keeps the response out of all caches, whatever the application allows them. */
  forbidCaches(): void {
    this.#isForOneClient = true;
    this.#put();
  }

  /** Adds an error's headers to the answer with its status, also to one that the application writes. */
  addErrorHeaders(error: SessionError): void {
    this.#error = error;
  }

  /** The host calls it whenever the headers are about to be sent. */
  send(status: number): void {
    const now = performance.now();
    for (const [cookie, { staleAt }] of this.#decisions) {
      if (staleAt === null) continue;
      const isOvertaken = now > staleAt || this.#cookiesOfOthers().some((line) => identityIn(line) === cookie);
      if (isOvertaken) this.#decisions.delete(cookie);
    }
    this.#put();
    if (this.#error?.status !== status) return;
    for (const [name, value] of Object.entries(this.#error.headers ?? {})) {
      if (this.#fields.getHeader(name) === undefined) this.#fields.setHeader(name, value);
    }
  }

  #cookiesOfOthers(): string[] {
    const lines = [this.#fields.getHeader(COOKIE) ?? []].flat().map(String);
    return lines.filter((line) => !this.#issued.has(line));
  }

  /** Whether a verb sets a cookie, of this session or of another manager's. */
  #setsCookie(): boolean {
    return [...this.#decisions.values()].some(({ isSet, staleAt }) => isSet && staleAt === null);
  }

  #put(): void {
    const fields = this.#fields;
    if (this.#issued.size > 0) {
      const ours = [...this.#decisions.values()].flatMap(({ lines }) => lines);
      // Our lines come last: browsers obey the later of two lines about one cookie.
      const lines = [...this.#cookiesOfOthers(), ...ours];
      if (lines.length > 0) fields.setHeader(COOKIE, lines);
      else fields.removeHeader(COOKIE);
      if (ours.length > 0) this.#putNoStore();
    }
    if (this.#isForOneClient) this.#putNoStore();
    if (this.#siteData.size > 0) this.#putSiteData();
  }

  #putNoStore(): void {
    const fields = this.#fields;
    const given = TARGETED_CACHE_HEADERS.filter((name) => fields.getHeader(name) !== undefined);
    for (const name of [CACHE, ...given]) {
      if (!NO_STORE.test(String(fields.getHeader(name)))) fields.setHeader(name, 'no-store');
    }
  }

  #putSiteData(): void {
    const fields = this.#fields;
    const others = listOf(fields.getHeader(SITE_DATA)).filter((kind) => !this.#addedKinds.includes(kind));
    const asked = new Set([...this.#siteData.values()].flat());
    const ours = new Set(this.#setsCookie() ? withoutCookies([...asked]) : asked);
    this.#addedKinds = [...ours].filter((kind) => !others.includes(kind));
    const kinds = [...others, ...this.#addedKinds];
    if (kinds.length > 0) fields.setHeader(SITE_DATA, kinds.join(', '));
    else fields.removeHeader(SITE_DATA);
  }
}

/**
 * The parts by which browsers tell cookies apart (RFC 6265, 5.3). They read a domain in any case, and without a leading
 * dot.
 */
export function cookieIdentity({ name, domain = '', path = '' }: Pick<SetCookie, 'name' | 'domain' | 'path'>): string {
  return `${name};${domain.replace(/^\./, '').toLowerCase()};${path}`;
}

function identityIn(line: string): string {
  return cookieIdentity(parseSetCookie(line, { decode: (value) => value }));
}

function listOf(value: number | string | readonly string[] | undefined): string[] {
  return value === undefined ? [] : String(value).split(/\s*,\s*/);
}

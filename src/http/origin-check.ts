/*
 * Cross-site request forgery: a page of another origin has the browser send a request, and the browser adds the session's cookie.
 * Browsers say where a request comes from, in `Sec-Fetch-Site` (all since 2023) or at least in `Origin`, and pages can't change that:
 * OWASP's Cross-Site Request Forgery Prevention Cheat Sheet has both as defences. The rules are those of Go's
 * `net/http.CrossOriginProtection`, and stricter where a header makes no sense.
 */
import { SessionError } from '../errors/session-error';
import { kindOf, shown } from '../errors/arguments';
import type { Exchange } from './exchange';

export interface CrossOriginOptions {
  /**
   * What becomes of an unsafe request (any method but GET, HEAD and OPTIONS; RFC 9110, 9.2.1) that a browser sends for a page of
   * another origin, and that a session's cookie comes with. `'refuse'` (default): 403 with `ERR_CROSS_ORIGIN` through the framework's
   * error path, before the store is asked. `'allow'`: it goes on; for an application that checks anti-forgery tokens itself.
   *
   * Requests with a token in the header, without a signed token, or from a client that is no browser are not affected.
   */
  crossOrigin?: 'refuse' | 'allow' | undefined;
  /**
   * Other origins whose pages may send such requests: `https://app.example.com`, with the port where it is not the scheme's own. Each
   * is compared whole; there are no wildcards. A page on another subdomain is another origin. Default: none.
   */
  trustedOrigins?: readonly string[] | undefined;
}

/** The origins that requests may come from besides the request's own host; `null` when any may. */
export type TrustedOrigins = ReadonlySet<string> | null;

const SAFE_METHODS = new Set<string | undefined>(['GET', 'HEAD', 'OPTIONS']);

/** `Origin` and `Host` as browsers write them: without default port, user or path (RFC 6454, 6.2). */
const ORIGIN = /^(https?):\/\/([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/;
const HOST = /^([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/;

/** What is shown of a header in an error. */
const MAX_SHOWN = 100;

/** @throws TypeError naming the option or the entry that is wrong. */
export function trustedOriginsOf({ crossOrigin = 'refuse', trustedOrigins = [] }: CrossOriginOptions): TrustedOrigins {
  if (crossOrigin !== 'refuse' && crossOrigin !== 'allow') {
    throw new TypeError("option crossOrigin must be 'refuse' or 'allow'");
  }
  if (!Array.isArray(trustedOrigins)) {
    throw new TypeError(`option trustedOrigins must be an array of origins, got ${kindOf(trustedOrigins)}`);
  }
  const origins = Array.from(trustedOrigins, originOf);
  return crossOrigin === 'allow' ? null : new Set(origins);
}

/**
 * Why a request may not use the session's cookie: `null` when it may. What comes twice, or is none of the values that browsers send,
 * is refused.
 */
export function crossOriginRefusal(exchange: Exchange, trusted: TrustedOrigins): SessionError | null {
  const { req } = exchange;
  if (trusted === null || SAFE_METHODS.has(req.method)) return null;
  const origin = req.headers.origin;
  if (origin !== undefined && trusted.has(origin)) return null;

  const site = req.headers['sec-fetch-site']?.toString();
  if (site !== undefined) {
    return site === 'same-origin' || site === 'none' ? null : refusal(`Sec-Fetch-Site is ${quoted(site)}`);
  }
  // Neither: not a browser, or one that sends no Origin with a request to the page's own origin.
  if (origin === undefined || isOwnOrigin(origin, exchange)) return null;
  return refusal(`Origin is ${quoted(origin)}, which is not the host of the request`);
}

/**
 * Whether a page of this origin is one of the host that the request went to. The scheme is compared where the request is known to be
 * secure; elsewhere a proxy that nobody trusts may have taken TLS off.
 */
function isOwnOrigin(origin: string, exchange: Exchange): boolean {
  const [, scheme, name, port] = ORIGIN.exec(origin) ?? [];
  const [, ownName, ownPort] = HOST.exec(exchange.host()?.toLowerCase() ?? '') ?? [];
  if (name === undefined || ownName === undefined || isTwice(exchange.req.rawHeaders, 'host')) return false;
  if (exchange.secure && scheme === 'http') return false;
  const standard = scheme === 'https' ? '443' : '80';
  return name === ownName && (port ?? standard) === (ownPort ?? standard);
}

/** Node gives the first of several `Host` headers. */
function isTwice(rawHeaders: readonly string[], field: string): boolean {
  return rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === field).length > 1;
}

/** An entry of `trustedOrigins`, as browsers write it. */
function originOf(entry: unknown, index: number): string {
  const name = `option trustedOrigins[${index}]`;
  if (typeof entry !== 'string') throw new TypeError(`${name} must be a string, got ${kindOf(entry)}`);
  const isBare = /^https?:\/\/[^/?#@\\\s]+$/i.test(entry);
  const origin = isBare && URL.canParse(entry) ? new URL(entry).origin : '';
  if (!ORIGIN.test(origin)) {
    throw new TypeError(
      `${name} must be an origin such as https://app.example.com, without path or wildcard, got ${shown(entry)}`,
    );
  }
  return origin;
}

function quoted(value: string): string {
  return JSON.stringify(value.slice(0, MAX_SHOWN));
}

function refusal(reason: string): SessionError {
  return new SessionError(
    'ERR_CROSS_ORIGIN',
    `a page of another origin sent this request with the session's cookie (${reason}): see the option trustedOrigins`,
  );
}

/*
 * Cross-site request forgery: a page of another origin has the browser send a request, and the browser adds the
 * session's cookie. Browsers name the origin of a request in `Sec-Fetch-Site` (all since 2023), or at least in
 * `Origin`, and pages can't change that. OWASP's Cross-Site Request Forgery Prevention Cheat Sheet lists both as
 * defences. The rules are those of Go's `net/http.CrossOriginProtection`, and stricter for headers that no browser
 * sends.
 */

import { checkString, kindOf, shown } from '../../errors/arguments';
import { SessionError } from '../../errors/session-error';
import type { Exchange } from '../exchange/exchange';

export interface CrossOriginOptions {
  /**
   * What to do with an unsafe request from a page of another origin. A method other than GET, HEAD and OPTIONS is
   * unsafe (RFC 9110, 9.2.1). So are a body and a WebSocket handshake.
   *
   * `'refuse'` (default): a request with the session's cookie gets 403 `ERR_CROSS_ORIGIN`, without a call to the store.
   * `login()` and a visitor's first write of session data reject with that error, with or without a cookie. `'allow'`:
   * no check, for applications that check anti-forgery tokens. It allows no `trustedOrigins` besides.
   *
   * Clients other than browsers pass the check. A request with a signed token in the header passes, too, but its
   * `login()` is still checked if it sets a cookie.
   */
  crossOrigin?: 'refuse' | 'allow' | undefined;
  /**
   * Other origins whose pages may send such requests: `https://app.example.com`, with the port unless it is the
   * scheme's own. There are no wildcards: name each subdomain whose pages send requests. Default: none.
   *
   * Include an identity provider that posts its answer (`response_mode=form_post`), because its page sends the login.
   * Also include apps in a web view (`capacitor://localhost`) and extensions (`chrome-extension://…`) that log in.
   */
  trustedOrigins?: readonly string[] | undefined;
}

/** Origins that may send requests besides the request's own host; `null` for any. */
export type TrustedOrigins = ReadonlySet<string> | null;

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** `Origin` and `Host` as browsers write them: without default port, user or path (RFC 6454, 6.2). */
const ORIGIN = /^(https?):\/\/([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/;
const HOST = /^([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/;

/**
 * The origin of an app in a web view or of a browser extension, which may have any scheme. No browser sends the
 * excluded ones: `[htps]+` is a misspelled `https`.
 */
const APP_ORIGIN = /^(?!(?:ftp|wss?|file|[htps]+):)[a-z][a-z0-9+.-]*:\/\/[a-z0-9._-]+(?::\d{1,5})?$/;

/** Characters of a header that an error shows. */
const MAX_SHOWN = 100;

/** @throws TypeError naming the option or the entry that is wrong. */
export function readTrustedOrigins(name: string, trustedOrigins: unknown): ReadonlySet<string> {
  const origins = trustedOrigins ?? [];
  if (!Array.isArray(origins)) throw new TypeError(`${name} must be an array of origins, got ${kindOf(origins)}`);
  return new Set(Array.from(origins, originOf));
}

/**
 * The refusal of a request that may neither use nor set the session's cookie; `null` when it may. Headers that come
 * twice, or have values that no browser sends, are refused.
 */
export function crossOriginRefusal(exchange: Exchange, trusted: TrustedOrigins): SessionError | null {
  const reason = foreignOrigin(exchange, trusted);
  // Its method last: mostly there is no need for it, and a look at it costs an Express request more than all headers.
  return reason === null || isSafe(exchange) ? null : refusal(reason);
}

type Sender = Pick<Exchange, 'header' | 'isRepeated' | 'host' | 'isSecure'>;

/** {@link crossOriginRefusal} of a request that opens a connection, which is unsafe with every method. */
export function foreignOriginRefusal(exchange: Sender, trusted: TrustedOrigins): SessionError | null {
  const reason = foreignOrigin(exchange, trusted);
  return reason === null ? null : refusal(reason);
}

/** The header that shows an untrusted page of another origin as the sender, for the error; `null` for none. */
function foreignOrigin(exchange: Sender, trusted: TrustedOrigins): string | null {
  if (trusted === null) return null;
  const origin = exchange.header('origin');
  if (origin !== undefined && trusted.has(origin)) return null;

  const site = exchange.header('sec-fetch-site');
  if (site !== undefined) {
    return site === 'same-origin' || site === 'none' ? null : `Sec-Fetch-Site is ${quoted(site)}`;
  }
  // Neither: not a browser, or one that sends no Origin with a request to the page's own origin.
  if (origin === undefined || isOwnOrigin(origin, exchange)) return null;
  return `Origin is ${quoted(origin)}, which is not the host of the request`;
}

/**
 * Both methods count: an override can make a POST of a link, and a GET of a form. A body counts, too: browsers send
 * none with a safe method, and an override may keep no trace of the client's own. So does a handshake: pages can open a
 * WebSocket to any origin, and the browser adds the cookies (RFC 6455, 10.2).
 */
function isSafe(exchange: Exchange): boolean {
  const hasBody =
    Number(exchange.header('content-length') ?? 0) > 0 || exchange.header('transfer-encoding') !== undefined;
  const isSafeMethod = SAFE_METHODS.has(exchange.method) && SAFE_METHODS.has(exchange.handledMethod);
  return isSafeMethod && !hasBody && !exchange.header('upgrade');
}

/**
 * Whether a page of this origin is one of the host that the request went to. The scheme is compared where the request
 * is known to be secure; elsewhere an untrusted proxy may have ended TLS.
 */
function isOwnOrigin(origin: string, exchange: Sender): boolean {
  const [, scheme, name, port] = ORIGIN.exec(origin) ?? [];
  const [, ownName, ownPort] = HOST.exec(exchange.host()?.toLowerCase() ?? '') ?? [];
  if (name === undefined || ownName === undefined || exchange.isRepeated('host')) return false;
  if (exchange.isSecure && scheme === 'http') return false;
  const standard = scheme === 'https' ? '443' : '80';
  return name === ownName && (port ?? standard) === (ownPort ?? standard);
}

/** An entry of `trustedOrigins`, as browsers write it. */
function originOf(value: unknown, index: number): string {
  const name = `option trustedOrigins[${index}]`;
  const entry = checkString(name, value);
  const isBare = /^[a-z][a-z0-9+.-]*:\/\/[^/?#@\\\s]+$/i.test(entry);
  const origin = isBare && URL.canParse(entry) ? serialized(new URL(entry)) : '';
  if (!ORIGIN.test(origin) && !APP_ORIGIN.test(origin)) {
    throw new TypeError(
      `${name} must be an origin such as https://app.example.com, without path or wildcard, got ${shown(entry)}`,
    );
  }
  return origin;
}

/** As browsers write the origin of a URL. `URL` itself gives none for the scheme of an app. */
function serialized({ origin, protocol, host }: URL): string {
  return origin === 'null' ? `${protocol}//${host}` : origin;
}

function quoted(value: string): string {
  return JSON.stringify(value.slice(0, MAX_SHOWN));
}

function refusal(reason: string): SessionError {
  return new SessionError(
    'ERR_CROSS_ORIGIN',
    `a page of another origin sent this request (${reason}): see the option trustedOrigins`,
  );
}

import { parseCookie, stringifySetCookie } from 'cookie';
import type { Exchange } from '../exchange/exchange';
import { cookieIdentity } from '../exchange/reply-headers';
import { defaultCookieName, isHostPrefixed, readCookieOptions } from './cookie-options';
import { type CookieScope, scopesOf } from './cookie-scopes';
import { proxyWarning } from './proxy-warning';

/** 400 days in seconds: browsers keep no cookie for longer (RFC 6265bis, 5.5). */
const MAX_AGE = 400 * 24 * 3600;

/**
 * Characters of guessed deletions, at most: a proxy has 4 KB for all the headers of a response (nginx's
 * `proxy_buffer_size`).
 */
const MAX_GUESSED = 2048;

/** Marks a cookie that ends with the browser's session, so that a renewal keeps it so. No token has this character. */
const NOT_PERSISTENT = '~';

const NONE: readonly string[] = [];

interface CookieLifetime {
  /** Seconds that the session can live, at most; `null` for no bound. */
  maxAge: number | null;
  /** Whether the browser keeps the cookie when it is closed. */
  isPersistent: boolean;
}

/** The cookies of users and of visitors. Two, so that a visitor's late answer can't take the place of a login. */
interface Cookies {
  user: CookieTransport;
  visitor: CookieTransport;
}

/** The cookies of secure requests and those of others, whose names and attributes differ. */
export type CookiesOf = (isSecure: boolean) => Cookies;

const VISITOR = '-visitor';

/** @throws TypeError for an option that is unknown or of the wrong kind, and for a combination that browsers refuse. */
export function readCookies(name: string, value: unknown): CookiesOf | null {
  if (value === false) return null;
  const given = readCookieOptions(name, value);
  const warn = proxyWarning();
  const cookies = (isSecure: boolean): Cookies => {
    const options = { ...given, secure: given.secure ?? isSecure };
    const warnOfProxy = given.secure === undefined && !isSecure ? warn : null;
    return { user: cookieTransport(options, '', warnOfProxy), visitor: cookieTransport(options, VISITOR, warnOfProxy) };
  };
  const [secure, insecure] = [cookies(true), cookies(false)];
  return (isSecure) => (isSecure ? secure : insecure);
}

type CookieTransport = ReturnType<typeof cookieTransport>;

/**
 * Reads, sets and clears the cookie with the token. Always HttpOnly.
 *
 * @param warnOfProxy is called for each request whose answer sets a cookie without `Secure` because the host takes the
 *   request for plain HTTP.
 */
function cookieTransport(
  given: ReturnType<typeof readCookieOptions> & { secure: boolean },
  suffix: string,
  warnOfProxy: ((exchange: Exchange) => void) | null,
) {
  const { path, domain, sameSite, partitioned, secure } = given;
  const name = (given.name ?? defaultCookieName(secure, domain, path)) + suffix;
  const own: CookieScope = domain === undefined ? { path } : { path, domain };
  const cookie = cookieIdentity({ name, ...own });

  const line = (value: string, lifetime: { maxAge?: number; expires?: Date }, scope = own, isTwin = false) => {
    const flags = { httpOnly: true, sameSite, partitioned: partitioned !== isTwin, secure };
    return stringifySetCookie({ name, value, ...flags, ...scope, ...lifetime }, { encode: asItIs });
  };
  // Cookies of two users sign no one in. Without these deletions, a planted cookie would lock its victim out for good.
  // Other answers leave such cookies alone, since they cost only a signature each.
  const guessedDeletions = (exchange: Exchange): string[] => {
    // A cookie from before a change of the option `partitioned`: browsers keep the two apart, and send both.
    const twin = secure ? [line('', { maxAge: 0 }, own, true)] : [];
    if (isHostPrefixed(name)) return twin;
    const scopes = scopesOf(exchange, path).filter((scope) => scope.path !== own.path || scope.domain !== own.domain);
    let room = MAX_GUESSED;
    return [...twin, ...scopes.map((scope) => line('', { maxAge: 0 }, scope))].filter((text) => {
      room -= text.length;
      return room >= 0;
    });
  };
  const decide = (
    exchange: Exchange,
    isSet: boolean,
    text: string,
    hasOtherCookies: boolean,
    freshForMs: number | null,
  ) => {
    // The own line comes last: some browsers treat a cookie for a host alone and one for the domain of that name as the
    // same.
    const lines = [...(hasOtherCookies ? guessedDeletions(exchange) : []), text];
    exchange.reply()?.decide({ cookie, isSet, freshForMs, lines });
  };

  return {
    /** The different tokens under the cookie's name, in no meaningful order. */
    read(header: string | undefined): readonly string[] {
      return header === undefined ? NONE : valuesOf(header, name);
    },
    /**
     * Sets the cookie.
     *
     * @param hasOtherCookies whether other cookies of the name came along.
     * @param freshForMs see {@link ReplyHeaders.decide}.
     */
    set(
      exchange: Exchange,
      token: string,
      { maxAge, isPersistent }: CookieLifetime,
      hasOtherCookies: boolean,
      freshForMs: number | null,
    ) {
      warnOfProxy?.(exchange);
      const text = isPersistent
        ? line(token, { maxAge: Math.min(maxAge ?? MAX_AGE, MAX_AGE) })
        : line(token + NOT_PERSISTENT, {});
      decide(exchange, true, text, hasOtherCookies, freshForMs);
    },
    /** Deletes the cookie. The parameters are those of `set`. */
    clear(exchange: Exchange, hasOtherCookies: boolean, freshForMs: number | null) {
      decide(exchange, false, line('', { maxAge: 0, expires: new Date(0) }), hasOtherCookies, freshForMs);
    },
  };
}

/** Whether the cookie in which this token came outlives the browser's session. */
export function outlivesBrowser(header: string | undefined, token: string): boolean {
  return !header?.includes(token + NOT_PERSISTENT);
}

/**
 * Reads all cookies of a name. Parsing gives the first one only: the one with the longest path (RFC 6265, 5.4), which
 * an attacker can choose.
 */
function valuesOf(header: string, name: string): readonly string[] {
  const first = header.indexOf(name);
  if (first === -1) return NONE;
  if (header.indexOf(name, first + 1) === -1) return cookieNamed(pairAt(header, first), name);
  return [...new Set(header.split(';').flatMap((pair) => cookieNamed(pair, name)))];
}

/** The one pair of a header that has something at this index: the other cookies of a site may be many. */
function pairAt(header: string, index: number): string {
  const end = header.indexOf(';', index);
  return header.slice(header.lastIndexOf(';', index) + 1, end === -1 ? header.length : end);
}

function cookieNamed(pair: string, name: string): readonly string[] {
  const value = parseCookie(pair, { decode: asItIs })[name];
  return value === undefined ? NONE : [tokenIn(value)];
}

function tokenIn(value: string): string {
  return value.endsWith(NOT_PERSISTENT) ? value.slice(0, -1) : value;
}

/** A token has no character that a cookie would have to encode. */
function asItIs(value: string): string {
  return value;
}

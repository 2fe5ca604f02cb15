import type { ServerResponse } from 'node:http';
import { parseCookie, stringifySetCookie } from 'cookie';
import onHeaders from 'on-headers';
import { type CookieOptions, checkCookieOptions, defaultCookieName, isHostPrefixed } from './cookie-options';
import { type CookieScope, type RequestTarget, scopesOf } from './cookie-scopes';

/** 400 days in seconds: browsers keep no cookie for longer (RFC 6265bis, 5.5). */
const MAX_AGE = 400 * 24 * 3600;

/** Characters of deletions on a guess, at most: a proxy has 4 KB for all the headers of a response (nginx's `proxy_buffer_size`). */
const MAX_GUESSED = 2048;

const NONE: readonly string[] = [];

/**
 * Reads, sets and clears the cookie with the token. Always HttpOnly. A response that sets or clears it says `Cache-Control: no-store`
 * (RFC 9111, 7.3; OWASP Session Management): it is for one client.
 */
export interface CookieTransport {
  /**
   * The values that came: none, one, or as many as there are different ones under the cookie's name, in no order that means anything.
   *
   * @param parsed the cookies of that header by their names, where somebody else has parsed it.
   */
  read(header: string | undefined, secure: boolean, parsed?: unknown): readonly string[];
  /**
   * Sets the cookie on the response, in place of what an earlier call has put there.
   *
   * @param tossed where the request went that had several cookies of the name: the others are deleted, as far as they can be guessed.
   */
  write(res: ServerResponse, token: string, secure: boolean, tossed?: RequestTarget): void;
  /** Makes the browser forget the cookie, and with `tossed` the others of its name, as far as they can be guessed. */
  clear(res: ServerResponse, secure: boolean, tossed?: RequestTarget): void;
}

/**
 * @param longest seconds after which no session lives any more, if there is such a bound: the cookie needn't live longer.
 * @throws TypeError for an option that is unknown or of the wrong kind, and for a combination that browsers refuse.
 */
export function cookieTransport(
  option: CookieOptions | false | undefined,
  longest: number | null,
): CookieTransport | null {
  if (option === false) return null;
  const given = checkCookieOptions(option);
  const { path = '/', domain, sameSite = 'lax', partitioned = false } = given;
  const own: CookieScope = domain === undefined ? { path } : { path, domain };
  const maxAge = Math.min(MAX_AGE, longest ?? MAX_AGE);
  /** What a response will say of the cookie. */
  const ours = new WeakMap<ServerResponse, readonly string[]>();

  const isSecure = (secure: boolean) => given.secure ?? secure;
  const nameFor = (secure: boolean) => given.name ?? defaultCookieName(isSecure(secure), domain, path);
  const textOf = (
    value: string,
    secure: boolean,
    scope: CookieScope,
    lifetime: { maxAge: number; expires?: Date },
    isPartitioned = partitioned,
  ) =>
    stringifySetCookie(
      {
        name: nameFor(secure),
        value,
        httpOnly: true,
        sameSite,
        partitioned: isPartitioned,
        ...scope,
        ...lifetime,
        secure: isSecure(secure),
      },
      { encode: asItIs },
    );
  const guessedDeletions = (secure: boolean, target: RequestTarget | undefined): string[] => {
    if (target === undefined) return [];
    // From before the option `partitioned` was changed: browsers keep the two apart, and send both.
    const twin = isSecure(secure) ? [textOf('', secure, own, { maxAge: 0 }, !partitioned)] : [];
    if (isHostPrefixed(nameFor(secure))) return twin;
    const scopes = scopesOf(target, path).filter((scope) => scope.path !== own.path || scope.domain !== own.domain);
    let room = MAX_GUESSED;
    const guesses = scopes.map((scope) => textOf('', secure, scope, { maxAge: 0 }));
    return [...twin, ...guesses].filter((text) => {
      room -= text.length;
      return room >= 0;
    });
  };
  const setOn = (res: ServerResponse, secure: boolean, texts: readonly string[]) => {
    const others = [res.getHeader('Set-Cookie') ?? []].flat().map(String);
    res.setHeader('Set-Cookie', [...others.filter((cookie) => !cookie.startsWith(`${nameFor(secure)}=`)), ...texts]);
    res.setHeader('Cache-Control', 'no-store');
  };
  const put = (res: ServerResponse, secure: boolean, texts: string[]) => {
    const isFirst = !ours.has(res);
    ours.set(res, texts);
    setOn(res, secure, texts);
    // A framework may clear all headers for an error, and a handler set them anew: a token that is issued must reach its client.
    if (isFirst) onHeaders(res, () => setOn(res, secure, ours.get(res) ?? []));
  };

  return {
    read: (header, secure, parsed) => (header === undefined ? NONE : valuesOf(header, nameFor(secure), parsed)),
    // Its own comes last: to some browsers a cookie for a host alone and one for the domain of that name are the same.
    write: (res, token, secure, tossed) =>
      put(res, secure, [...guessedDeletions(secure, tossed), textOf(token, secure, own, { maxAge })]),
    clear: (res, secure, tossed) => {
      const deletion = textOf('', secure, own, { maxAge: 0, expires: new Date(0) });
      put(res, secure, [...guessedDeletions(secure, tossed), deletion]);
    },
  };
}

/** Parsing gives the first of several cookies of a name, which is whichever was made for the longest path (RFC 6265, 5.4): an attacker's choice. */
function valuesOf(header: string, name: string, parsed: unknown): readonly string[] {
  const first = header.indexOf(name);
  if (first === -1) return NONE;
  if (header.indexOf(name, first + 1) === -1) return parsedCookie(parsed, name) ?? cookieNamed(header, name);
  return [...new Set(header.split(';').flatMap((pair) => cookieNamed(pair, name)))];
}

function parsedCookie(parsed: unknown, name: string): readonly string[] | null {
  if (typeof parsed !== 'object' || parsed === null || !Object.hasOwn(parsed, name)) return null;
  const value = (parsed as Record<string, unknown>)[name];
  return typeof value === 'string' ? [value] : null;
}

function cookieNamed(header: string, name: string): readonly string[] {
  const value = parseCookie(header, { decode: asItIs })[name];
  return value === undefined ? NONE : [value];
}

/** A token has no character that a cookie would have to encode. */
function asItIs(value: string): string {
  return value;
}

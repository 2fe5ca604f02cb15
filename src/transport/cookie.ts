import type { ServerResponse } from 'node:http';
import { parseCookie, stringifySetCookie } from 'cookie';
import { checkBoolean, checkOptions, kindOf } from '../core/options';

export interface CookieOptions {
  /**
   * Default: `__Host-session` on a secure request and `session` on another. With a `domain` or a `path` of your own, which
   * `__Host-` forbids, `__Secure-session` takes its place.
   */
  name?: string | undefined;
  /** Default `/`. */
  path?: string | undefined;
  /** Default: none, the host that set the cookie alone gets it back. */
  domain?: string | undefined;
  /**
   * Whether the cookie goes over HTTPS only. Default: when the request is secure as the framework sees it (its own trust-proxy
   * rule), or always where another option calls for it: a `__Host-` or `__Secure-` name, `sameSite: 'none'`, `partitioned`.
   */
  secure?: boolean | undefined;
  /** Default `lax`. */
  sameSite?: 'strict' | 'lax' | 'none' | undefined;
  /** Whether the cookie is kept apart for each top-level site that embeds yours (CHIPS). Default false. */
  partitioned?: boolean | undefined;
}

const OPTIONS: Record<keyof CookieOptions, true> = {
  name: true,
  path: true,
  domain: true,
  secure: true,
  sameSite: true,
  partitioned: true,
};

/** 400 days in seconds: browsers keep no cookie for longer (RFC 6265bis, 5.5). */
const MAX_AGE = 400 * 24 * 3600;

/** Reads, sets and clears the cookie with the token. Always HttpOnly. */
export interface CookieTransport {
  /** The token as it came; `undefined` when there is no such cookie. */
  read(header: string | undefined, secure: boolean): string | undefined;
  /** Sets the cookie on the response, in place of what an earlier call has put there. */
  write(res: ServerResponse, token: string, secure: boolean): void;
  /** Makes the browser forget the cookie. */
  clear(res: ServerResponse, secure: boolean): void;
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
  const attributes = { httpOnly: true, path, sameSite, partitioned, ...(domain === undefined ? {} : { domain }) };
  const maxAge = Math.min(MAX_AGE, longest ?? MAX_AGE);

  const isSecure = (secure: boolean) => given.secure ?? secure;
  const nameFor = (secure: boolean) => given.name ?? defaultName(isSecure(secure), domain, path);
  const put = (res: ServerResponse, value: string, age: number, secure: boolean) => {
    const name = nameFor(secure);
    const lifetime = age === 0 ? { maxAge: 0, expires: new Date(0) } : { maxAge: age };
    const text = stringifySetCookie(
      { name, value, ...attributes, ...lifetime, secure: isSecure(secure) },
      { encode: asItIs },
    );
    const others = [res.getHeader('Set-Cookie') ?? []]
      .flat()
      .filter((cookie) => !String(cookie).startsWith(`${name}=`));
    res.setHeader('Set-Cookie', [...others.map(String), text]);
  };
  try {
    stringifySetCookie({ name: nameFor(true), value: 'x', ...attributes, secure: isSecure(true) });
  } catch (cause) {
    throw new TypeError('option cookie has a name, path or domain that a cookie can not have', { cause });
  }

  return {
    read: (header, secure) =>
      header === undefined ? undefined : parseCookie(header, { decode: asItIs })[nameFor(secure)],
    write: (res, token, secure) => put(res, token, maxAge, secure),
    clear: (res, secure) => put(res, '', 0, secure),
  };
}

/** A token has no character that a cookie would have to encode. */
function asItIs(value: string): string {
  return value;
}

function defaultName(secure: boolean, domain: string | undefined, path: string): string {
  if (!secure) return 'session';
  return domain === undefined && path === '/' ? '__Host-session' : '__Secure-session';
}

/** The options that are there, with the `secure` that the others imply (RFC 6265bis, 4.1.3 and 5.7; CHIPS). */
function checkCookieOptions(option: CookieOptions | undefined): CookieOptions {
  const given = checkOptions('option cookie', option, OPTIONS);
  for (const name of ['name', 'path', 'domain'] as const) {
    const value: unknown = given[name];
    if (value === undefined) continue;
    if (typeof value !== 'string') throw new TypeError(`option cookie.${name} must be a string, got ${kindOf(value)}`);
    if (value === '') throw new TypeError(`option cookie.${name} must not be empty`);
  }
  if (given.secure !== undefined) checkBoolean('option cookie.secure', given.secure);
  if (given.partitioned !== undefined) checkBoolean('option cookie.partitioned', given.partitioned);
  if (given.sameSite !== undefined && !['strict', 'lax', 'none'].includes(given.sameSite)) {
    throw new TypeError("option cookie.sameSite must be 'strict', 'lax' or 'none'");
  }
  if (given.path !== undefined && !given.path.startsWith('/'))
    throw new TypeError('option cookie.path must begin with /');

  // Browsers take the prefixes in any case.
  const isHost = /^__host-/i.test(given.name ?? '');
  if (isHost && given.domain !== undefined) throw new TypeError('option cookie.domain: a __Host- cookie has none');
  if (isHost && (given.path ?? '/') !== '/') throw new TypeError("option cookie.path: a __Host- cookie's is /");
  const secureBecause = [
    (isHost || /^__secure-/i.test(given.name ?? '')) && `the name ${given.name}`,
    given.sameSite === 'none' && "sameSite 'none'",
    given.partitioned === true && 'partitioned',
  ].find((reason) => reason !== false);
  if (secureBecause === undefined) return given;
  if (given.secure === false) throw new TypeError(`option cookie.secure must not be false with ${secureBecause}`);
  return { ...given, secure: true };
}

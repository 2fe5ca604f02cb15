import {
  checkBoolean,
  checkString,
  oneOf,
  optional,
  type Read,
  type Readers,
  readOptions,
  shown,
} from '../../errors/arguments';

/** Options of the cookie that carries the token. */
export interface CookieOptions {
  /**
   * The name, without spaces and separators (RFC 9110, 5.6.2). Default: `__Host-session` with HTTPS, and `session`
   * without. With HTTPS and a `domain` or `path`, which `__Host-` forbids, the default is `__Secure-session`.
   *
   * Browsers refuse a cookie named `__Host-…`, `__Secure-…`, `__Http-…` or `__Host-Http-…` that breaks the rules of its
   * prefix (RFC 6265bis, 4.1.3). Options that break them are a TypeError.
   *
   * A visitor's cookie has the same options and the suffix `-visitor`. It ends with the browser's session.
   */
  name?: string | undefined;
  /** The path, beginning with `/`, without `;`, `?` and `#`. Default `/`. */
  path?: string | undefined;
  /**
   * A host name such as `example.com`, whose subdomains also get the cookie. It has no scheme, no port, and no dot at
   * either end, and is not an IP address. Default: none; only the host that set the cookie gets it back.
   */
  domain?: string | undefined;
  /**
   * Whether the cookie goes over HTTPS only. Default: when the framework calls the request secure. Always true with a
   * prefixed name, `sameSite: 'none'` or `partitioned`.
   */
  secure?: boolean | undefined;
  /**
   * Whether requests from pages of other sites carry the cookie. Default `lax`: only when the user follows a link. With
   * an identity provider, session data kept before the redirect needs `lax`; if the provider posts its answer, `none`.
   */
  sameSite?: 'strict' | 'lax' | 'none' | undefined;
  /** Whether browsers keep a separate cookie for each top-level site that embeds yours (CHIPS). Default false. */
  partitioned?: boolean | undefined;
}

const READERS = {
  name: optional(checkName, undefined),
  path: optional(checkPath, '/'),
  domain: optional(checkDomain, undefined),
  secure: optional(checkBoolean, undefined),
  sameSite: optional(oneOf('strict', 'lax', 'none'), 'lax'),
  partitioned: optional(checkBoolean, false),
} satisfies Readers<CookieOptions>;

/** RFC 6265, 4.1.1: a cookie's name is a token. */
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** RFC 6265, 4.1.1, without what no path of a request has. */
const PATH = /^\/[\x21\x22\x24-\x3a\x3d\x3e\x40-\x7e]*$/;

/** Browsers ignore a longer attribute (RFC 6265bis, 5.6). */
const MAX_PATH_LENGTH = 1024;

/** Browsers take the prefixes in any case. `__Host-` is that of `__Host-Http-`, too. */
const HOST_PREFIX = /^__host-/i;
const SECURE_PREFIX = /^__(?:secure|http|host)-/i;

/** Whether browsers take a cookie of this name for one host and the path `/` only. */
export function isHostPrefixed(name: string): boolean {
  return HOST_PREFIX.test(name);
}

/** The name where none is given. */
export function defaultCookieName(secure: boolean, domain: string | undefined, path: string): string {
  if (!secure) return 'session';
  return domain === undefined && path === '/' ? '__Host-session' : '__Secure-session';
}

/**
 * The options with their defaults, and the `secure` that the others imply (RFC 6265bis, 4.1.3 and 5.7; CHIPS).
 *
 * @throws TypeError for an option that is unknown or of the wrong kind, and for a combination that browsers refuse.
 */
export function readCookieOptions(option: string, value: unknown): Read<typeof READERS> {
  const given = readOptions(option, value as CookieOptions | undefined, READERS, `${option}.`);
  const { name = '', path, domain, sameSite, partitioned } = given;
  if (isHostPrefixed(name) && domain !== undefined) throw new TypeError(`${option}.domain: a __Host- cookie has none`);
  if (isHostPrefixed(name) && path !== '/') throw new TypeError(`${option}.path: a __Host- cookie's is /`);
  const secureBecause = [
    SECURE_PREFIX.test(name) && `the name ${shown(name)}`,
    sameSite === 'none' && "sameSite 'none'",
    partitioned && 'partitioned',
  ].find((reason) => reason !== false);
  if (secureBecause === undefined) return given;
  if (given.secure === false) throw new TypeError(`${option}.secure must not be false with ${secureBecause}`);
  return { ...given, secure: true };
}

function checkFilled(option: string, value: unknown): string {
  if (value === '') throw new TypeError(`${option} must not be empty`);
  return checkString(option, value);
}

function checkName(option: string, value: unknown): string {
  const name = checkFilled(option, value);
  if (NAME.test(name)) return name;
  throw new TypeError(`${option} must be letters, digits and !#$%&'*+-.^_\`|~ alone, got ${shown(name)}`);
}

function checkPath(option: string, value: unknown): string {
  const path = checkFilled(option, value);
  if (!path.startsWith('/')) throw new TypeError(`${option} must begin with /`);
  if (PATH.test(path) && path.length <= MAX_PATH_LENGTH) return path;
  throw new TypeError(
    `${option} must be at most ${MAX_PATH_LENGTH} printable ASCII characters without spaces and ; < ? #`,
  );
}

function checkDomain(option: string, value: unknown): string {
  const domain = checkFilled(option, value);
  if (domain.startsWith('.') || domain.endsWith('.')) {
    throw new TypeError(
      `${option} must not begin or end with a dot: it holds for the subdomains anyway (RFC 6265, 5.2.3)`,
    );
  }
  if (isAddress(domain)) {
    throw new TypeError(`${option} must not be an IP address, which has no subdomains: leave it out`);
  }
  if (isHostName(domain)) return domain;
  throw new TypeError(`${option} must be a host name without scheme, port and path, got ${shown(domain)}`);
}

/** Labels of letters, digits and inner hyphens (RFC 1123, 2.1; an international name as punycode). */
export function isHostName(text: string): boolean {
  const labels = text.split('.');
  return text.length <= 253 && labels.every((label) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(label));
}

/**
 * Whether this is an IP address and no name: no top-level domain is a number (RFC 3696, 2), and no name has colons that
 * ports leave.
 */
export function isAddress(host: string): boolean {
  return /(?:^|\.)\d+$/.test(host) || /^\[?[0-9a-f]*:[0-9a-f.]*:[0-9a-f:.]*\]?$/i.test(host);
}

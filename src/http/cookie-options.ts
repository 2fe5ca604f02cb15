import { checkBoolean, checkOptions, kindOf, shown } from '../errors/arguments';

export interface CookieOptions {
  /**
   * A token of RFC 9110, 5.6.2: no spaces, no separators. Default: `__Host-session` on a secure request and `session` on another.
   * With a `domain` or a `path` of your own, which `__Host-` forbids, `__Secure-session` takes its place.
   *
   * The prefixes `__Host-`, `__Secure-`, `__Http-` and `__Host-Http-` have browsers refuse the cookie from anybody who could not have
   * set it like that (RFC 6265bis, 4.1.3); options that break their rules are refused here.
   */
  name?: string | undefined;
  /** From `/` on, without `;`, `?` and `#`. Default `/`. */
  path?: string | undefined;
  /**
   * A host name, `example.com`, whose subdomains get the cookie too; without scheme, port and dots around it. No IP address: that has
   * no subdomains. Default: none, the host that set the cookie alone gets it back.
   */
  domain?: string | undefined;
  /**
   * Whether the cookie goes over HTTPS only. Default: when the request is secure as the framework sees it (its own trust-proxy
   * rule), or always where another option calls for it: a name with a prefix, `sameSite: 'none'`, `partitioned`.
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
 * The options that are there, with the `secure` that the others imply (RFC 6265bis, 4.1.3 and 5.7; CHIPS).
 *
 * @throws TypeError for an option that is unknown or of the wrong kind, and for a combination that browsers refuse.
 */
export function checkCookieOptions(option: CookieOptions | undefined): Partial<CookieOptions> {
  const given = checkOptions('option cookie', option, OPTIONS);
  for (const name of ['name', 'path', 'domain'] as const) {
    const value: unknown = given[name];
    if (value === undefined) continue;
    if (typeof value !== 'string') throw new TypeError(`option cookie.${name} must be a string, got ${kindOf(value)}`);
    if (value === '') throw new TypeError(`option cookie.${name} must not be empty`);
  }
  if (given.name !== undefined) checkName(given.name);
  if (given.path !== undefined) checkPath(given.path);
  if (given.domain !== undefined) checkDomain(given.domain);
  if (given.secure !== undefined) checkBoolean('option cookie.secure', given.secure);
  if (given.partitioned !== undefined) checkBoolean('option cookie.partitioned', given.partitioned);
  if (given.sameSite !== undefined && !['strict', 'lax', 'none'].includes(given.sameSite)) {
    throw new TypeError("option cookie.sameSite must be 'strict', 'lax' or 'none'");
  }

  const name = given.name ?? '';
  if (isHostPrefixed(name) && given.domain !== undefined) {
    throw new TypeError('option cookie.domain: a __Host- cookie has none');
  }
  if (isHostPrefixed(name) && (given.path ?? '/') !== '/') {
    throw new TypeError("option cookie.path: a __Host- cookie's is /");
  }
  const secureBecause = [
    SECURE_PREFIX.test(name) && `the name ${shown(name)}`,
    given.sameSite === 'none' && "sameSite 'none'",
    given.partitioned === true && 'partitioned',
  ].find((reason) => reason !== false);
  if (secureBecause === undefined) return given;
  if (given.secure === false) throw new TypeError(`option cookie.secure must not be false with ${secureBecause}`);
  return { ...given, secure: true };
}

function checkName(name: string): void {
  if (NAME.test(name)) return;
  throw new TypeError(`option cookie.name must be letters, digits and !#$%&'*+-.^_\`|~ alone, got ${shown(name)}`);
}

function checkPath(path: string): void {
  if (!path.startsWith('/')) throw new TypeError('option cookie.path must begin with /');
  if (!PATH.test(path) || path.length > MAX_PATH_LENGTH) {
    throw new TypeError(
      `option cookie.path must be at most ${MAX_PATH_LENGTH} printable ASCII characters without spaces and ; < ? #`,
    );
  }
}

function checkDomain(domain: string): void {
  const name = 'option cookie.domain';
  if (domain.startsWith('.') || domain.endsWith('.')) {
    throw new TypeError(
      `${name} must not begin or end with a dot: it holds for the subdomains anyway (RFC 6265, 5.2.3)`,
    );
  }
  if (isAddress(domain)) {
    throw new TypeError(`${name} must not be an IP address, which has no subdomains: leave it out`);
  }
  if (!isHostName(domain)) {
    throw new TypeError(`${name} must be a host name without scheme, port and path, got ${shown(domain)}`);
  }
}

/** Labels of letters, digits and inner hyphens (RFC 1123, 2.1; an international name as punycode). */
export function isHostName(text: string): boolean {
  const labels = text.split('.');
  return text.length <= 253 && labels.every((label) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(label));
}

/** Whether this is an IP address and no name: no top-level domain is a number (RFC 3696, 2), and no name has colons that ports leave. */
export function isAddress(host: string): boolean {
  return /(?:^|\.)\d+$/.test(host) || /^\[?[0-9a-f]*:[0-9a-f.]*:[0-9a-f:.]*\]?$/i.test(host);
}

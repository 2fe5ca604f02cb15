import { checkString, shown } from '../../errors/arguments';

/**
 * Characters of a path that `returnTo` keeps. A longer one loses its query, then all of its path, because `Location`
 * has to pass proxies.
 */
const MAX_LENGTH = 1024;

/**
 * A path of printable ASCII. Browsers read `//` and `/\` as the start of a host, and drop control characters (WHATWG
 * URL, 4.4).
 */
const PATH = /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/;

/**
 * Checks a value from a request before you redirect to it after a login. Returns it when it is a path of this site,
 * with its query; `/` for any other value. Drops the query of a value longer than 1024 characters.
 *
 * @example
 * res.redirect(safeReturnTo(req.query.returnTo));
 */
export function safeReturnTo(value: unknown): string {
  if (typeof value !== 'string' || !PATH.test(value)) return '/';
  // Browsers remove dot segments, and the rest must still be a path.
  if (!PATH.test(new URL(value, 'http://site').pathname)) return '/';
  if (value.length <= MAX_LENGTH) return value;
  const [path = '/'] = value.split('?', 1);
  return path.length <= MAX_LENGTH ? path : '/';
}

export function loginLocation(redirectTo: string, url: string): string {
  return `${redirectTo}${redirectTo.includes('?') ? '&' : '?'}returnTo=${encodeURIComponent(safeReturnTo(url))}`;
}

/** @throws TypeError for a value that is no path of this site. */
export function checkRedirectTo(name: string, value: unknown): string {
  const path = checkString(name, value);
  if (PATH.test(path) && !path.includes('#')) return path;
  throw new TypeError(`${name} must be a path of this site, such as /login, got ${shown(path)}`);
}

/** Whether a browser asks for a page, and not a script for data. */
export function isPageRequest(method: string, accept: string | undefined): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false;
  return (accept ?? '').split(',').some((range) => {
    const [type = '', ...parameters] = range.split(';');
    return type.trim().toLowerCase() === 'text/html' && !parameters.some((text) => /^ *q=0(?:\.0*)? *$/i.test(text));
  });
}

import { kindOf, shown } from '../errors/arguments';

/** A longer one loses its query, then all of its path: `Location` has to pass proxies. */
const MAX_LENGTH = 1024;

/**
 * Of printable ASCII. Browsers take `//` and `/\` for the beginning of a host, and leave control characters out (WHATWG
 * URL, 4.4).
 */
const PATH = /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/;

/**
 * A path and query of this site that a browser may be sent to after a login, out of what a request holds; `/` for
 * anything else.
 *
 * @example
 * res.redirect(safeReturnTo(req.query.returnTo));
 */
export function safeReturnTo(value: unknown): string {
  if (typeof value !== 'string' || !PATH.test(value)) return '/';
  // Without its dot segments, which browsers take out, it must be one still.
  if (!PATH.test(new URL(value, 'http://site').pathname)) return '/';
  if (value.length <= MAX_LENGTH) return value;
  const [path = '/'] = value.split('?', 1);
  return path.length <= MAX_LENGTH ? path : '/';
}

/** The `Location` of a login page that knows where to go on. */
export function loginLocation(redirectTo: string, url: string): string {
  return `${redirectTo}${redirectTo.includes('?') ? '&' : '?'}returnTo=${encodeURIComponent(safeReturnTo(url))}`;
}

/** @throws TypeError for what is no path of this site. */
export function checkRedirectTo(name: string, value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, got ${kindOf(value)}`);
  if (PATH.test(value) && !value.includes('#')) return value;
  throw new TypeError(`${name} must be a path of this site, such as /login, got ${shown(value)}`);
}

/** Whether a browser asks for a page, and not a script for data. */
export function isPageRequest(method: string, accept: string | undefined): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false;
  return (accept ?? '').split(',').some((range) => {
    const [type = '', ...parameters] = range.split(';');
    return type.trim().toLowerCase() === 'text/html' && !parameters.some((text) => /^ *q=0(?:\.0*)? *$/i.test(text));
  });
}

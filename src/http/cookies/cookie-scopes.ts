/*
 * Cookies of one name differ by domain and path, and browsers send neither back. A neighbour on another subdomain, an
 * application on another path, or an older set-up of this one may have left more of them (cookie tossing). Only guesses
 * can find these.
 */

import type { Exchange } from '../exchange/exchange';
import { isAddress, isHostName } from './cookie-options';

/** The requests that get a cookie. */
export interface CookieScope {
  path: string;
  domain?: string;
}

const MAX_DOMAINS = 4;
const MAX_DIRECTORIES = 4;
const MAX_DIRECTORY_LENGTH = 100;

/** What a path in `Set-Cookie` may hold (RFC 6265, 4.1.1). */
const PATH = /^[\x21-\x3a\x3d-\x7e]+$/;

/** The scopes whose cookies the request gets, likely ones first. */
export function scopesOf(target: Pick<Exchange, 'host' | 'url'>, ownPath: string): CookieScope[] {
  const domains = domainsOf(target.host());
  const paths = new Set(['/', ownPath, ...directoriesOf(target.url)]);
  return [...paths].flatMap((path) => [{ path }, ...domains.map((domain) => ({ path, domain }))]);
}

/**
 * The host and its parents of two labels or more, the shortest first, because most neighbours can set those. None for
 * an address.
 */
function domainsOf(host: string | undefined): string[] {
  const name = (host ?? '').replace(/:\d+$/, '').toLowerCase();
  if (isAddress(name) || !isHostName(name)) return [];
  const labels = name.split('.');
  const parents = labels.slice(1).map((_, depth) => labels.slice(labels.length - 2 - depth).join('.'));
  return parents.slice(0, MAX_DOMAINS);
}

/** The directories of a path, each without and with the slash behind it, which makes another cookie. */
function directoriesOf(url: string): string[] {
  const path = url.split(/[?#]/, 1)[0] ?? '';
  const names = path.split('/').slice(1, 1 + MAX_DIRECTORIES);
  const bare = names
    .map((_, depth) => `/${names.slice(0, depth + 1).join('/')}`)
    .filter((directory) => directory.length <= MAX_DIRECTORY_LENGTH && PATH.test(directory));
  return [...bare, ...bare.map((directory) => `${directory}/`)].filter((directory) => path.startsWith(directory));
}

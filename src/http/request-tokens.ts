import type { TokenManager } from '../manager/token-manager';
import type { Exchange } from './exchange';
import type { SessionPolicy } from './middleware-options';

/** What a request would sign in with, as it came. */
export interface Credentials {
  /** A header's token wins over the cookie's. */
  readonly header: string | undefined;
  /** The different values under the cookie's name: more than one when other cookies of the name hold for the same request. */
  readonly cookies: readonly string[];
}

/** Live sessions that a browser of one user may hold under one name before it is somebody's game: each costs a call to the store. */
const MAX_CANDIDATES = 3;

export function readCredentials(
  { header, cookie }: Pick<SessionPolicy<unknown>, 'header' | 'cookie'>,
  { req, secure, cookies }: Exchange,
): Credentials {
  return {
    header: header?.read(req.headers),
    cookies: cookie?.read(req.headers.cookie, secure, cookies) ?? [],
  };
}

/**
 * The tokens among a cookie's values to try, one after the other. Which of several is the browser's own is never told by their order, for
 * whoever plants a cookie chooses where it goes: only signed ones count, and those of different users sign in nobody.
 *
 * @returns `null` for a conflict: signed tokens of several users, or too many of one.
 */
export function candidatesOf(
  values: readonly string[],
  manager: Pick<TokenManager, 'isToken'>,
): readonly string[] | null {
  if (values.length < 2) return values;
  const signed = values.filter((value) => manager.isToken(value)).sort();
  const users = new Set(signed.map((token) => token.split('.', 1)[0]));
  return users.size > 1 || signed.length > MAX_CANDIDATES ? null : signed;
}

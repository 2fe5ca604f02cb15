import { kindOf, MAX_SECONDS } from '../errors/arguments';
import type { SessionEntries } from '../store/store';
import { parseDataValue } from '../store/stored-json';
import type { SessionCookie } from './peer';

const COOKIE = 'cookie';

/** @throws TypeError for a session that is no object. */
export function checkContent(session: unknown): { cookie?: unknown } {
  if (typeof session === 'object' && session !== null) return session;
  throw new TypeError(`session must be an object, got ${kindOf(session)}`);
}

/**
 * The content to store: the JSON of each top-level key of a session. As in other express-session stores, a Date becomes
 * its ISO string and NaN becomes `null`. Values without JSON, such as functions, are left out. A lone surrogate in a
 * key becomes U+FFFD, as in UTF-8.
 *
 * @throws TypeError for a BigInt or a cycle.
 */
export function entriesOf(session: object): Map<string, string> {
  const entries = new Map<string, string>();
  for (const [key, value] of Object.entries(checkContent(session))) {
    const json: string | undefined = JSON.stringify(key === COOKIE ? lasting(value) : value);
    if (json !== undefined) entries.set(key.toWellFormed(), json);
  }
  return entries;
}

/** The session content to return from `get`, made from stored entries. */
export function contentOf(
  entries: SessionEntries,
  leftMs: number,
): Record<string, unknown> & { cookie: SessionCookie } {
  const content: Record<string, unknown> = Object.fromEntries(
    Array.from(entries, ([key, json]) => [key, parseDataValue(json)]),
  );
  // The application may have deleted this key through session data.
  const cookie: SessionCookie = isObject(content[COOKIE]) ? content[COOKIE] : { originalMaxAge: null };
  const expires = new Date(Date.now() + leftMs).toISOString();
  if (typeof cookie.originalMaxAge === 'number' || cookie.expires) cookie.expires = expires;
  return Object.assign(content, { cookie });
}

/**
 * The time to live that a session's cookie sets, in milliseconds, rounded up to whole seconds. `null` when the cookie
 * sets none; 0 when the session has expired.
 *
 * With a `maxAge`, `expires` doesn't count: each request sets it anew. It may be past in a record of connect-redis,
 * whose `touch` leaves the record as it is, and at the end of a long response.
 */
export function lifetimeOf(session: object): number | null {
  const { cookie } = session as { cookie?: SessionCookie | null };
  if (!isObject(cookie)) return null;
  const { originalMaxAge, expires } = cookie as SessionCookie;
  const isMoment = expires instanceof Date || typeof expires === 'string' || typeof expires === 'number';
  const until = isMoment ? new Date(expires).getTime() : Number.NaN;
  const ttlMs = typeof originalMaxAge === 'number' ? originalMaxAge : until - Date.now();
  if (Number.isNaN(ttlMs)) return null;
  return Math.min(wholeSeconds(Math.max(ttlMs, 0)), 1000 * MAX_SECONDS);
}

/**
 * A cookie without what changes with every request: its expiry, and the milliseconds that express-session may lose of
 * `originalMaxAge` each time.
 */
function lasting(cookie: unknown): unknown {
  const shown: unknown = isObject(cookie) && typeof cookie.toJSON === 'function' ? cookie.toJSON() : cookie;
  if (!isObject(shown) || !Number.isFinite(shown.originalMaxAge)) return shown ?? null;
  const { expires: _, ...lasts } = shown;
  return { ...lasts, originalMaxAge: wholeSeconds(shown.originalMaxAge as number) };
}

/** Milliseconds, rounded up to whole seconds. */
function wholeSeconds(ms: number): number {
  return 1000 * Math.ceil(ms / 1000);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

import { kindOf } from '../errors/arguments';
import type { SessionEntries } from '../store/store';
import type { SessionCookie } from './peer';

const COOKIE = 'cookie';

/** The longest a session may live, in milliseconds: a hundred years. */
const MAX_TTL_MS = 100 * 365 * 24 * 3_600_000;

/**
 * What is kept of a session: the JSON of each of its top-level keys. Values become what express-session's other stores
 * make of them: a Date its ISO string, NaN `null`. What JSON leaves out is left out.
 *
 * @throws TypeError for what has no JSON: a BigInt, a cycle.
 */
export function entriesOf(session: object): Map<string, string> {
  if (typeof session !== 'object' || session === null) {
    throw new TypeError(`session must be an object, got ${kindOf(session)}`);
  }
  const entries = new Map<string, string>();
  for (const [key, value] of Object.entries(session)) {
    const json: string | undefined = JSON.stringify(key === COOKIE ? lasting(value) : value);
    if (json !== undefined) entries.set(key, json);
  }
  return entries;
}

/** The session that entries were made of, as express-session's stores give it. */
export function contentOf(
  entries: SessionEntries,
  leftMs: number,
): Record<string, unknown> & { cookie: SessionCookie } {
  const content: Record<string, unknown> = {};
  for (const [key, json] of entries) {
    Object.defineProperty(content, key, {
      value: JSON.parse(json),
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  // The application may have cleared the data by other ways.
  const cookie: SessionCookie = isObject(content[COOKIE]) ? content[COOKIE] : { originalMaxAge: null };
  const expires = new Date(Date.now() + leftMs).toISOString();
  if (typeof cookie.originalMaxAge === 'number' || cookie.expires) cookie.expires = expires;
  return Object.assign(content, { cookie });
}

/**
 * How long a session is to live without a request, in whole seconds as milliseconds, by its cookie; `null` where that
 * sets no time, 0 when it is over.
 */
export function lifetimeOf(session: object): number | null {
  const { cookie } = session as { cookie?: SessionCookie | null };
  if (!isObject(cookie)) return null;
  const { originalMaxAge, expires } = cookie as SessionCookie;
  const until = expires instanceof Date || typeof expires === 'string' ? new Date(expires).getTime() : Number.NaN;
  const leftMs = until - Date.now();
  if (leftMs <= 0) return 0;
  const ttlMs = typeof originalMaxAge === 'number' ? originalMaxAge : leftMs;
  if (Number.isNaN(ttlMs)) return null;
  return 1000 * Math.ceil(Math.min(Math.max(ttlMs, 0), MAX_TTL_MS) / 1000);
}

/** What differs between two contents: the JSON of each key that is new or another, `null` for one that is gone. */
export function changesBetween(before: SessionEntries, after: SessionEntries): Map<string, string | null> {
  const changes = new Map<string, string | null>();
  for (const [key, json] of after) if (before.get(key) !== json) changes.set(key, json);
  for (const key of before.keys()) if (!after.has(key)) changes.set(key, null);
  return changes;
}

/** A cookie without the time that every request makes another. */
function lasting(cookie: unknown): unknown {
  const json: unknown = JSON.parse(JSON.stringify(cookie ?? null));
  if (isObject(json) && typeof json.originalMaxAge === 'number') delete json.expires;
  return json;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

import { checkInteger, checkOptions } from '../errors/arguments';

/** How far a near cache goes, see the option `cache`. */
export interface CacheOptions {
  /** Sessions that are kept at a time; of more, the users whose requests are longest ago give way. Default 10,000. */
  maxEntries?: number | undefined;
  /** Milliseconds after which a session is asked for again, whatever is or isn't heard of it. At most 600,000. Default 5,000. */
  maxAgeMs?: number | undefined;
  /**
   * Milliseconds between two looks whether the store's announcements still arrive. When two in a row bring no answer, nothing is answered from the
   * cache. 100 to 60,000. Default 1,000.
   */
  heartbeatMs?: number | undefined;
}

const OPTIONS: Record<keyof CacheOptions, true> = { maxEntries: true, maxAgeMs: true, heartbeatMs: true };

const MAX_ENTRIES = 10_000_000;
/** Ten minutes: what is older than that is no copy of anything. */
const MAX_AGE_MS = 600_000;
const MIN_HEARTBEAT_MS = 100;
const MAX_HEARTBEAT_MS = 60_000;

export type CachePolicy = { readonly [Name in keyof CacheOptions]-?: number };

/** @throws TypeError or RangeError naming the option that is unknown or of the wrong kind. */
export function checkCacheOptions(option: boolean | CacheOptions | undefined): CachePolicy | null {
  if (option === undefined || option === false) return null;
  const given = option === true ? {} : checkOptions('option cache', option, OPTIONS);
  const { maxEntries = 10_000, maxAgeMs = 5000, heartbeatMs = 1000 } = given;
  return {
    maxEntries: checkInteger('option cache.maxEntries', maxEntries, 1, MAX_ENTRIES),
    maxAgeMs: checkInteger('option cache.maxAgeMs', maxAgeMs, 1, MAX_AGE_MS),
    heartbeatMs: checkInteger('option cache.heartbeatMs', heartbeatMs, MIN_HEARTBEAT_MS, MAX_HEARTBEAT_MS),
  };
}

import { integer, optional, type Read, type Readers, readOptions } from '../errors/arguments';

/** How far a near cache goes, see the option `cache`. */
export interface CacheOptions {
  /** Sessions that are kept at a time; of more, the users whose requests are longest ago give way. Default 10,000. */
  maxEntries?: number | undefined;
  /**
   * Milliseconds after which a session is asked for again, whatever was announced of it. At most 600,000. Default
   * 5,000.
   */
  maxAgeMs?: number | undefined;
  /**
   * Milliseconds between two looks whether the store's announcements still arrive. When two in a row bring no answer,
   * nothing is answered from the cache. 100 to 60,000. Default 1,000.
   */
  heartbeatMs?: number | undefined;
}

export const DEFAULT_HEARTBEAT_MS = 1000;

const READERS = {
  maxEntries: optional(integer(1, 10_000_000), 10_000),
  // What is older than ten minutes is no copy of anything.
  maxAgeMs: optional(integer(1, 600_000), 5000),
  heartbeatMs: optional(integer(100, 60_000), DEFAULT_HEARTBEAT_MS),
} satisfies Readers<CacheOptions>;

export type CachePolicy = Readonly<Read<typeof READERS>>;

/** @throws TypeError or RangeError naming the option that is unknown or of the wrong kind. */
export function readCacheOptions(name: string, option: unknown): CachePolicy | null {
  if (option === undefined || option === false) return null;
  return readOptions(name, option === true ? {} : (option as CacheOptions), READERS, `${name}.`);
}

import { integer, optional, type Read, type Readers, readOptions } from '../errors/arguments';

/** Limits of a near cache, for the option `cache`. */
export interface CacheOptions {
  /**
   * Sessions kept at a time. Beyond that, the cache evicts the least recently used users. Default 10,000. Range 1 to
   * 10,000,000.
   */
  maxEntries?: number | undefined;
  /**
   * Milliseconds after which the manager asks the store again, whatever was announced. Default 5,000. Range 1 to
   * 600,000.
   */
  maxAgeMs?: number | undefined;
  /**
   * Milliseconds between two checks that announcements still arrive. After two without an answer, the cache answers
   * nothing. Default 1,000. Range 100 to 60,000.
   */
  heartbeatMs?: number | undefined;
}

export const DEFAULT_HEARTBEAT_MS = 1000;

const READERS = {
  maxEntries: optional(integer(1, 10_000_000), 10_000),
  // An answer older than ten minutes is of no use.
  maxAgeMs: optional(integer(1, 600_000), 5000),
  heartbeatMs: optional(integer(100, 60_000), DEFAULT_HEARTBEAT_MS),
} satisfies Readers<CacheOptions>;

export type CachePolicy = Readonly<Read<typeof READERS>>;

/** @throws TypeError or RangeError naming the option that is unknown or of the wrong kind. */
export function readCacheOptions(name: string, option: unknown): CachePolicy | null {
  if (option === undefined || option === false) return null;
  return readOptions(name, option === true ? {} : (option as CacheOptions), READERS, `${name}.`);
}

import type { TokenManager } from 'tokensession';
import { monotonicMs } from '../monotonic';

/** The promised times of a worker's near cache. */
export interface CachePromise {
  maxAgeMs: number;
  heartbeatMs: number;
}

/** Statistics of a worker's near cache. */
export interface CacheRecord {
  promise: CachePromise;
  /** Checks answered by the near cache, and by the store. */
  hits: number;
  misses: number;
  entries: number;
  /** How often it reported lost announcements, and their return. */
  downs: number;
  ups: number;
  /** The reasons, with their counts. */
  causes: Record<string, number>;
  downMs: number;
  longestDownMs: number;
}

/** Records the events of a manager's near cache. */
export class CacheDiary {
  readonly #manager: TokenManager;
  readonly #promise: CachePromise;
  readonly #causes: Record<string, number> = {};
  #downs = 0;
  #ups = 0;
  #downMs = 0;
  #longestDownMs = 0;
  #downAt: number | null = null;

  constructor(manager: TokenManager, promise: CachePromise) {
    this.#manager = manager;
    this.#promise = promise;
    manager.on('cache-down', ({ error: { cause } }) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      this.#causes[why] = (this.#causes[why] ?? 0) + 1;
      this.#downs++;
      this.#downAt ??= monotonicMs();
    });
    manager.on('cache-up', () => {
      this.#ups++;
      this.#wasDown();
      this.#downAt = null;
    });
  }

  record(): CacheRecord {
    const { hits = 0, misses = 0, entries = 0 } = this.#manager.cacheStats ?? {};
    this.#wasDown();
    return {
      promise: this.#promise,
      hits,
      misses,
      entries,
      downs: this.#downs,
      ups: this.#ups,
      causes: this.#causes,
      downMs: this.#downMs,
      longestDownMs: this.#longestDownMs,
    };
  }

  #wasDown(): void {
    if (this.#downAt === null) return;
    const ms = monotonicMs() - this.#downAt;
    this.#downMs += ms;
    this.#longestDownMs = Math.max(this.#longestDownMs, ms);
  }
}

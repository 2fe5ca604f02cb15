/*
 * The cache of one user's info: a load is cached unless a change came after its start, or it took too long.
 * Moments and versions are milliseconds of the store's clock.
 */

/** The longest time of a load. */
export const MAX_LOAD = 60_000;

export class UserInfoModel {
  #text: string | null = null;
  #until = 0;
  /** The version of the last change: no earlier load is cached. */
  #changed = 0;
  /** The greatest version with which a load has begun. */
  #begun = 0;

  /** When it expires. */
  get until(): number {
    return this.#until;
  }

  text(now: number): string | null {
    return this.#until > now ? this.#text : null;
  }

  /** The version of a load that a check begins. */
  version(now: number): number {
    return Math.max(now, this.#changed);
  }

  /** The least version of a change. */
  nextVersion(now: number): number {
    return Math.max(now, this.#changed, this.#begun) + 1;
  }

  begin(version: number): void {
    this.#begun = Math.max(this.#begun, version);
  }

  /** Makes all earlier loads obsolete. */
  renew(version: number): void {
    this.begin(version);
    this.#changed = version;
  }

  forget(now: number): boolean {
    const wasThere = this.text(now) !== null;
    this.#text = null;
    this.#changed = this.nextVersion(now);
    return wasThere;
  }

  /** Whether the result of a load with this version counts. */
  counts(version: number, now: number): boolean {
    return version >= this.#changed && now - version <= MAX_LOAD;
  }

  /** Caches the result of a load for this long after its start. */
  keep(text: string, ttlMs: number, version: number, now: number): boolean {
    const until = Math.min(version, now) + ttlMs;
    if (!this.counts(version, now) || until <= now) return false;
    this.#text = text;
    this.#until = until;
    this.#changed = version;
    return true;
  }
}

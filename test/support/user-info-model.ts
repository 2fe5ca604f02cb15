/*
 * What is cached of one user's info: what a load brings is kept unless it began before a change, or took too long.
 * Moments and versions are milliseconds of the store's clock.
 */

/** What a load may take. */
const MAX_LOAD = 60_000;

export class UserInfoModel {
  #text: string | null = null;
  #until = 0;
  /** The version of the last change: no earlier load is kept. */
  #changed = 0;
  /** The greatest version that a load has begun with. */
  #begun = 0;

  /** The moment at which it is over by itself. */
  get until(): number {
    return this.#until;
  }

  text(now: number): string | null {
    return this.#until > now ? this.#text : null;
  }

  /** The version of a load that begins by a check. */
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

  /** All earlier loads count no more. */
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

  /** Whether what a load with this version has found counts. */
  counts(version: number, now: number): boolean {
    return version >= this.#changed && now - version <= MAX_LOAD;
  }

  /** Keeps what a load has brought, until that long after its begin. */
  keep(text: string, ttlMs: number, version: number, now: number): boolean {
    const until = Math.min(version, now) + ttlMs;
    if (!this.counts(version, now) || until <= now) return false;
    this.#text = text;
    this.#until = until;
    this.#changed = version;
    return true;
  }
}

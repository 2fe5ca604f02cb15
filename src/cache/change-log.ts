import { LRUCache } from 'lru-cache';
import { flat } from '../token/token';

/** Users whose last change is remembered: more than change during one call to the store. */
const MAX_USERS = 10_000;

/** Remembers which users have changed recently. An answer in flight at that time may be older than the change. */
export class ChangeLog {
  #count = 0;
  /** The user of a change up to this one is no longer known. */
  #forgotten = 0;
  readonly #changes = new LRUCache<string, number>({
    max: MAX_USERS,
    dispose: (change, _tag, reason) => {
      if (reason === 'evict') this.#forgotten = Math.max(this.#forgotten, change);
    },
  });

  /** A moment in the log: the number of changes so far. */
  get now(): number {
    return this.#count;
  }

  record(tag: string): void {
    this.#changes.set(flat(tag), ++this.#count);
  }

  hasChanged(tag: string, since: number): boolean {
    return this.#forgotten > since || (this.#changes.peek(tag) ?? 0) > since;
  }
}

import { LRUCache } from 'lru-cache';
import { flat } from '../token/token';

/** Users whose last change is remembered: more than change while one call to the store is in flight. */
const MAX_USERS = 10_000;

/** Remembers which users have changed of late: an answer that was in flight then may be older than the change. */
export class ChangeLog {
  #count = 0;
  /** Every change up to this one may be of anybody. */
  #forgotten = 0;
  readonly #changes = new LRUCache<string, number>({
    max: MAX_USERS,
    dispose: (change, _tag, reason) => {
      if (reason === 'evict') this.#forgotten = Math.max(this.#forgotten, change);
    },
  });

  /** A moment in it: how many changes there have been. */
  get now(): number {
    return this.#count;
  }

  record(tag: string): void {
    this.#changes.set(flat(tag), ++this.#count);
  }

  /** Whether a user may have changed since that moment. */
  hasChanged(tag: string, since: number): boolean {
    return this.#forgotten > since || (this.#changes.peek(tag) ?? 0) > since;
  }
}

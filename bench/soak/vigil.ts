import { monotonicMs } from '../monotonic';
import type { Account, Foreign, Page } from './book';

/** A session that is checked repeatedly; `account` is `null` for another process's. */
export type Watched = { account: Account; page: Page } | { account: null; entry: Foreign };

/** Sessions of other processes, and of this one, that are watched at a time. */
const SEATS = { foreign: 24, own: 8 };
/** How long a session is checked after its end: a late reply, cached by mistake, would revive it. */
const LINGER_MS = 500;
/** How long a session with an unknown outcome is checked. */
const MOST_MS = 20_000;

/**
 * Checks a few sessions in turn, so often that a near cache has them when they end, and that the duration of its stale
 * answers shows. Checks spread over all sessions would mostly miss the cache.
 */
export class Vigil {
  readonly #seats: ({ watched: Watched; since: number } | null)[] = new Array(SEATS.foreign + SEATS.own).fill(null);
  readonly #pickForeign: () => Watched | null;
  readonly #pickOwn: () => Watched | null;
  #turn = 0;

  constructor(pickForeign: () => Watched | null, pickOwn: () => Watched | null) {
    this.#pickForeign = pickForeign;
    this.#pickOwn = pickOwn;
  }

  /** The next session to check; `null` if there is none for this turn. */
  next(): Watched | null {
    this.#turn = (this.#turn + 1) % this.#seats.length;
    const seat = this.#seats[this.#turn] ?? null;
    if (seat !== null && !isOver(seat)) return seat.watched;
    const watched = this.#turn < SEATS.own ? this.#pickOwn() : this.#pickForeign();
    this.#seats[this.#turn] = watched && { watched, since: monotonicMs() };
    return watched;
  }
}

function isOver({ watched, since }: { watched: Watched; since: number }): boolean {
  const endedAt = watched.account === null ? watched.entry.seenDead?.settled : watched.page.endedAt;
  return monotonicMs() > Math.min(since + MOST_MS, (endedAt ?? Infinity) + LINGER_MS);
}

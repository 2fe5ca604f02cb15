import type { Account, Foreign, Page } from './book';
import { machineNow } from './clock';

/** A session that is looked at again and again; `account` is `null` for another process's. */
export type Watched = { account: Account; page: Page } | { account: null; entry: Foreign };

/** Sessions of others, and of this process, that are watched at a time. */
const SEATS = { foreign: 24, own: 8 };
/** How long one is looked at after its end: a late answer, kept by mistake, would bring it back. */
const LINGER_MS = 500;
/** Of one whose fate stays unknown. */
const MOST_MS = 20_000;

/**
 * Looks at a few sessions in turn, so often that a near cache has them when they end, and that it shows how long it
 * goes on to answer for them. Looks that are spread over all sessions would come so seldom that nearly each of them
 * asks Redis.
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

  /** Who is to be looked at now; `null` when there is nobody for this turn. */
  next(): Watched | null {
    this.#turn = (this.#turn + 1) % this.#seats.length;
    const seat = this.#seats[this.#turn] ?? null;
    if (seat !== null && !isOver(seat)) return seat.watched;
    const watched = this.#turn < SEATS.own ? this.#pickOwn() : this.#pickForeign();
    this.#seats[this.#turn] = watched && { watched, since: machineNow() };
    return watched;
  }
}

function isOver({ watched, since }: { watched: Watched; since: number }): boolean {
  const endedAt = watched.account === null ? watched.entry.seenDead?.settled : watched.page.endedAt;
  return machineNow() > Math.min(since + MOST_MS, (endedAt ?? Infinity) + LINGER_MS);
}

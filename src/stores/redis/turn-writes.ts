import type { Redis } from 'ioredis';

/** A turn of the event loop that takes longer is one in which something held the process up. */
const LONGEST_TURN_MS = 50;

/** What the calls of one turn of the event loop are sent with. */
export class TurnWrite {
  readonly #begunAt = performance.now();
  #doneAt: number | null = null;

  done(): void {
    this.#doneAt = performance.now();
  }

  /** Milliseconds for which the process was held up before it was sent, or is at `now`, a moment of `performance.now()`. */
  heldUpMs(now: number): number {
    const ms = (this.#doneAt ?? now + LONGEST_TURN_MS) - this.#begunAt;
    return ms > LONGEST_TURN_MS ? ms : 0;
  }
}

/**
 * Sends what is sent in one turn of the event loop, for requests that have arrived together, in one write to each server. A write is a system call,
 * and with one for each call it is what costs most of a call to Redis.
 */
export class TurnWrites {
  readonly #clients: () => readonly Redis[];
  #write: TurnWrite | null = null;

  /** @param clients those that anything may be sent over now. */
  constructor(clients: () => readonly Redis[]) {
    this.#clients = clients;
  }

  /** Has what is sent from now on go with the rest of this turn. */
  join(): TurnWrite {
    if (this.#write !== null) return this.#write;
    const write = new TurnWrite();
    this.#write = write;
    const streams = this.#clients().map(({ stream }) => stream);
    for (const stream of streams) stream?.cork();
    setImmediate(() => {
      this.#write = null;
      write.done();
      for (const stream of streams) stream?.uncork();
    });
    return write;
  }
}

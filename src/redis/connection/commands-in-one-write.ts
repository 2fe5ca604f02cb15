import type { Redis } from 'ioredis';

/** Calls that go out without waiting for more: while this process makes the next ones, Redis is at work on these. */
const ENOUGH = 16;

/** A call that is sent at the end of a turn of the event loop. */
export interface QueuedCall {
  onTurn(): void;
}

/**
 * Sends what is sent in one turn of the event loop, for requests that have arrived together, in few writes to each
 * server. A write is a system call, and with one for each call it is what costs most of a call to Redis.
 */
export class TurnQueue {
  readonly #clients: () => readonly Redis[];
  #waiting: QueuedCall[] = [];

  /** @param clients those that anything may be sent over now. */
  constructor(clients: () => readonly Redis[]) {
    this.#clients = clients;
  }

  /** Sends a call when the turn ends, or there are enough for a write. */
  add(call: QueuedCall): void {
    this.#waiting.push(call);
    if (this.#waiting.length >= ENOUGH) this.#sendAll();
    else if (this.#waiting.length === 1) setImmediate(() => this.#sendAll());
  }

  #sendAll(): void {
    const calls = this.#waiting;
    if (calls.length === 0) return;
    this.#waiting = [];
    const streams = calls.length === 1 ? [] : this.#clients().map(({ stream }) => stream);
    for (const stream of streams) stream?.cork();
    for (const call of calls) call.onTurn();
    for (const stream of streams) stream?.uncork();
  }
}

import type { Redis } from 'ioredis';

/** Calls that go out without waiting for more: while this process makes the next ones, Redis is at work on these. */
const ENOUGH = 16;

/**
 * Sends what is sent in one turn of the event loop, for requests that have arrived together, in few writes to each
 * server. A write is a system call, and with one for each call it is what costs most of a call to Redis.
 */
export class TurnQueue {
  readonly #clients: () => readonly Redis[];
  #waiting: (() => void)[] = [];

  /** @param clients those that anything may be sent over now. */
  constructor(clients: () => readonly Redis[]) {
    this.#clients = clients;
  }

  /** Calls what sends something when the turn ends, or there is enough for a write. */
  add(send: () => void): void {
    this.#waiting.push(send);
    if (this.#waiting.length >= ENOUGH) this.#sendAll();
    else if (this.#waiting.length === 1) setImmediate(() => this.#sendAll());
  }

  #sendAll(): void {
    const sends = this.#waiting;
    if (sends.length === 0) return;
    this.#waiting = [];
    const streams = sends.length === 1 ? [] : this.#clients().map(({ stream }) => stream);
    for (const stream of streams) stream?.cork();
    for (const send of sends) send();
    for (const stream of streams) stream?.uncork();
  }
}

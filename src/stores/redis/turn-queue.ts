import type { Redis } from 'ioredis';

/**
 * Sends what is sent in one turn of the event loop, for requests that have arrived together, in one write to each server. A write is a system call,
 * and with one for each call it is what costs most of a call to Redis.
 */
export class TurnQueue {
  readonly #clients: () => readonly Redis[];
  #waiting: (() => void)[] = [];

  /** @param clients those that anything may be sent over now. */
  constructor(clients: () => readonly Redis[]) {
    this.#clients = clients;
  }

  /** Calls what sends something when the turn ends. */
  add(send: () => void): void {
    if (this.#waiting.length === 0) setImmediate(() => this.#sendAll());
    this.#waiting.push(send);
  }

  #sendAll(): void {
    const sends = this.#waiting;
    this.#waiting = [];
    const streams = sends.length === 1 ? [] : this.#clients().map(({ stream }) => stream);
    for (const stream of streams) stream?.cork();
    for (const send of sends) send();
    for (const stream of streams) stream?.uncork();
  }
}

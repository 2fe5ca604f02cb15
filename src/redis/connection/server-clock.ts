/**
 * Estimates the clock of each server from its answers. The estimate is never ahead, unless that clock was set back:
 * the time in an answer had passed already when the answer arrived.
 */
export class ServerClock {
  /** Milliseconds from this process's monotonic clock to the server's. */
  readonly #offsets = new Map<string, number>();

  /** Takes the time that an answer of this server held, when the answer arrives. */
  learn(server: string, now: number): void {
    this.#offsets.set(server, now - performance.now());
  }

  /** Forgets a server, or every one: what answers there from now on may be another, with a clock of its own. */
  forget(server?: string): void {
    if (server === undefined) this.#offsets.clear();
    else this.#offsets.delete(server);
  }

  /** The server's time at a moment of `performance.now()`; 0, long past, while no answer has held it. */
  at(server: string, moment: number): number {
    const offset = this.#offsets.get(server);
    return offset === undefined ? 0 : Math.floor(moment + offset);
  }
}

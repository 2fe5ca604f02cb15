/**
 * Estimates the clock of each server from its answers. The estimate is never ahead unless that clock was set back: the
 * time in an answer is past when the answer arrives.
 */
export class ServerClock {
  /** Milliseconds from this process's monotonic clock to the server's. */
  readonly #offsets = new Map<string, number>();

  /** Records the time in an answer of this server, when the answer arrives. */
  learn(server: string, now: number): void {
    this.#offsets.set(server, now - performance.now());
  }

  /** Forgets one server or all: another one, with a clock of its own, may answer there from now on. */
  forget(server?: string): void {
    if (server === undefined) this.#offsets.clear();
    else this.#offsets.delete(server);
  }

  /** The server's time at a moment of `performance.now()`; 0 before its first answer with a time. */
  at(server: string, moment: number): number {
    const offset = this.#offsets.get(server);
    return offset === undefined ? 0 : Math.floor(moment + offset);
  }
}

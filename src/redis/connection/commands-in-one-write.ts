import type { Redis } from 'ioredis';

/** Calls that go out at once, without waiting for more: Redis works on them while this process makes the next ones. */
const ENOUGH = 16;

/** A call that goes out at the end of a turn of the event loop. */
export interface QueuedCall {
  onTurn(now: number): void;
}

/**
 * Sends the calls of one turn of the event loop in few writes to each server, for requests that arrive together. A
 * write is a system call; one for each call would be most of its cost.
 */
export class CommandsInOneWrite {
  readonly #clients: () => readonly Redis[];
  readonly #afterTurn: () => void;
  readonly #sendNow = () => this.#sendAll();
  #waiting: QueuedCall[] = [];
  /** Whether the last write was of one call. */
  #wasAlone = true;

  /**
   * @param clients the clients that may send now.
   * @param afterTurn is called after the calls of a turn, and may send more in the same write.
   */
  constructor(clients: () => readonly Redis[], afterTurn: () => void) {
    this.#clients = clients;
    this.#afterTurn = afterTurn;
  }

  /**
   * Sends a call when the turn ends, or when there are enough calls for a write.
   *
   * @param isAlone whether no other call has yet to settle. If the last one was alone, too, this one does not wait for
   *   the turn: it goes out as soon as the running code has ended, with the calls that the code makes meanwhile.
   */
  add(call: QueuedCall, isAlone: boolean): void {
    this.#waiting.push(call);
    if (this.#waiting.length >= ENOUGH) this.#sendAll();
    else if (this.#waiting.length > 1) return;
    else if (isAlone && this.#wasAlone) process.nextTick(this.#sendNow);
    else setImmediate(this.#sendNow);
  }

  #sendAll(): void {
    const calls = this.#waiting;
    if (calls.length === 0) return;
    this.#waiting = [];
    this.#wasAlone = calls.length === 1;
    const streams = calls.length === 1 ? [] : this.#clients().map(({ stream }) => stream);
    for (const stream of streams) stream?.cork();
    const now = performance.now();
    for (const call of calls) call.onTurn(now);
    this.#afterTurn();
    for (const stream of streams) stream?.uncork();
  }
}

import { SessionError } from '../../errors/session-error';

/** Calls in flight to one server, at most: enough to keep Redis busy. */
const MAX_IN_FLIGHT = 1000;

/** Calls that wait for one server, at most. */
const MAX_WAITING = 10_000;

export interface WaitingCall {
  /** Sends the call, which counts here until it has settled. `false`: nothing was sent. */
  send(inFlight: CallsInFlight): boolean;
  refuse(error: SessionError): void;
  /** The last moment, by `performance.now()`, at which the call may be sent. */
  until: number;
}

/**
 * Bounds the calls in flight to one server. Others wait, and are refused unsent when that takes too long. So a call
 * that is sent has enough time left for its answer, and a call reported as failed is not carried out later.
 */
export class CallsInFlight {
  #count = 0;
  /** In the order in which they came. */
  readonly #waiting = new Set<WaitingCall>();
  #timer: NodeJS.Timeout | null = null;

  /** Sends a call now, or once there is room. Each sent call must be {@link settled}. */
  add(call: WaitingCall): void {
    if (this.#hasRoom()) this.#send(call);
    else if (this.#waiting.size >= MAX_WAITING) call.refuse(overload());
    else {
      this.#waiting.add(call);
      this.#watch(call);
    }
  }

  /** Counts a sent call as answered or given up. */
  settled(): void {
    this.#count--;
    for (const call of this.#waiting) {
      if (!this.#hasRoom()) return;
      this.#waiting.delete(call);
      if (performance.now() <= call.until) this.#send(call);
      else call.refuse(overload());
    }
  }

  #hasRoom(): boolean {
    return this.#count < MAX_IN_FLIGHT;
  }

  #send(call: WaitingCall): void {
    if (call.send(this)) this.#count++;
  }

  /**
   * Refuses calls that have waited too long, once the answers that arrived meanwhile are read. Each call has a timer of
   * its own that holds the process.
   */
  #watch(first: WaitingCall): void {
    this.#timer ??= setTimeout(() => setImmediate(() => this.#refuseLate()), first.until - performance.now()).unref();
  }

  #refuseLate(): void {
    this.#timer = null;
    for (const call of this.#waiting) {
      if (performance.now() <= call.until) {
        this.#watch(call);
        return;
      }
      this.#waiting.delete(call);
      call.refuse(overload());
    }
  }
}

function overload(): SessionError {
  const message = 'more calls wait for Redis in this process than it can answer in time; this one was not sent';
  return new SessionError('ERR_STORE_UNAVAILABLE', message);
}

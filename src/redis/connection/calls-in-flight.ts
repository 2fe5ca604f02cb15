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

  /** Sends a call now, or once there is room. Each sent call must be {@link settled}. */
  add(call: WaitingCall): void {
    if (this.#hasRoom()) this.#send(call);
    else if (this.#waiting.size >= MAX_WAITING) call.refuse(overload());
    else this.#waiting.add(call);
  }

  /**
   * Counts a sent call as answered or given up. That sends or refuses the calls that wait. They need no timer here:
   * calls in flight came earlier, and so are given up earlier. A call that has less time than these has its own timer.
   */
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
}

function overload(): SessionError {
  const message = 'more calls wait for Redis in this process than it can answer in time; this one was not sent';
  return new SessionError('ERR_STORE_UNAVAILABLE', message);
}

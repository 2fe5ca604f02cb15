import { setTimeout as sleep } from 'node:timers/promises';
import { SessionError } from '../../errors/session-error';

/** Calls in a row that a server must leave unanswered before it is asked no more. */
const FAILURES_TO_OPEN = 5;
/** Milliseconds between two probes of a server that is asked no more; at random up to half as long again. */
const PROBE_EVERY_MS = 150;

interface Circuit {
  failures: number;
  isOpen: boolean;
  /** What the last call failed with. */
  cause: SessionError;
}

/**
 * Spares calls the wait for a server that doesn't answer. After some in a row went unanswered, calls to that server are
 * refused at once, and only a probe asks it, until it answers. An answer is also an error reply: that costs nobody a
 * wait.
 *
 * The probe is no user's request, and is given long to be answered before there is another: a client without a socket
 * timeout keeps what it was given for as long as the server is silent.
 */
export class CircuitBreaker {
  /** The servers that have left calls unanswered since they last answered one. */
  readonly #circuits = new Map<string, Circuit>();

  /** Whether every server answers. */
  get isIdle(): boolean {
    return this.#circuits.size === 0;
  }

  /** The error for a call to a server that is asked no more; `null` when it may be asked. */
  refusal(server: string): SessionError | null {
    const circuit = this.#circuits.get(server);
    if (circuit?.isOpen !== true) return null;
    return new SessionError('ERR_STORE_UNAVAILABLE', 'Redis has stopped answering; it is asked again when it does', {
      cause: circuit.cause.cause ?? circuit.cause,
    });
  }

  answered(server: string): void {
    this.#circuits.delete(server);
  }

  /**
   * @param probe asks the server something, waits for the answer also when it is late, and tells whether it came in
   * time.
   */
  unanswered(server: string, cause: SessionError, probe: () => Promise<boolean>): void {
    const circuit = this.#circuits.get(server) ?? { failures: 0, isOpen: false, cause };
    this.#circuits.set(server, circuit);
    circuit.failures++;
    circuit.cause = cause;
    if (circuit.isOpen || circuit.failures < FAILURES_TO_OPEN) return;
    circuit.isOpen = true;
    void this.#probeUntilAnswered(server, circuit, probe);
  }

  /** Forgets all failures, and ends the probing. */
  reset(): void {
    this.#circuits.clear();
  }

  async #probeUntilAnswered(server: string, circuit: Circuit, probe: () => Promise<boolean>): Promise<void> {
    const isOver = () => this.#circuits.get(server) !== circuit;
    while (!isOver()) {
      await sleep(PROBE_EVERY_MS * (1 + Math.random() / 2), undefined, { ref: false });
      if (!isOver() && (await probe()) && !isOver()) this.#circuits.delete(server);
    }
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { SessionError } from '../../errors/session-error';

/** Unanswered calls in a row after which a server gets no more calls. */
const FAILURES_TO_OPEN = 5;
/** Milliseconds between two probes of such a server; at random up to half as long again. */
const PROBE_EVERY_MS = 150;

interface Circuit {
  failures: number;
  cause: SessionError;
}

/**
 * Spares calls the wait for a server that doesn't answer. After several unanswered calls in a row, it refuses further
 * calls at once, and only a probe asks the server until it answers. An error reply is an answer, since it makes no call
 * wait.
 *
 * The probe belongs to no request and gets a long time for its answer before the next one, because a client without a
 * socket timeout queues commands while the server is silent.
 */
export class CircuitBreaker {
  /** Servers with unanswered calls since their last answer. */
  readonly #circuits = new Map<string, Circuit>();

  get isIdle(): boolean {
    return this.#circuits.size === 0;
  }

  /** The error for a call to a server that gets no calls; `null` when it gets calls. */
  refusal(server: string): SessionError | null {
    const circuit = this.#circuits.get(server);
    if (circuit === undefined || circuit.failures < FAILURES_TO_OPEN) return null;
    return new SessionError('ERR_STORE_UNAVAILABLE', 'Redis has stopped answering; it is asked again when it does', {
      cause: circuit.cause.cause ?? circuit.cause,
    });
  }

  answered(server: string): void {
    this.#circuits.delete(server);
  }

  /** @param probe asks the server, waits also for a late answer, and gives whether it came in time. */
  unanswered(server: string, cause: SessionError, probe: () => Promise<boolean>): void {
    const circuit = this.#circuits.get(server) ?? { failures: 0, cause };
    this.#circuits.set(server, circuit);
    circuit.failures++;
    circuit.cause = cause;
    if (circuit.failures === FAILURES_TO_OPEN) void this.#probeUntilAnswered(server, circuit, probe);
  }

  /** Forgets all failures, and stops probing. */
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

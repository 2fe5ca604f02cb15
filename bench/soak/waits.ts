/** How much longer than permitted the calls of a process took. */
export interface WaitSummary {
  worstMs: number;
  worstOperation: string;
  /** By how much the worst wait exceeded the deadline; negative if none did. */
  worstOverMs: number;
  /** The same without the time for which the process itself was suspended. */
  worstOverWithoutDriftMs: number;
  worstOverWithoutDriftOperation: string;
  /** Calls longer than the deadline and the margin, with and without the drift. */
  overMargin: number;
  overMarginWithoutDrift: number;
  /** The longest delay of a timer in this process. */
  worstDriftMs: number;
}

/** The margin of a call beyond its deadline. */
export const MARGIN_MS = 50;
/** A timer that is as late as a call's may fire after it. */
const SETTLING_MS = 40;
/** A longer delay of a timer means that the soak has stopped this process. */
const HELD_MS = 1000;
/** Ticks to remember: more than any call takes. */
const MAX_TICKS = 1000;

interface Tick {
  at: number;
  late: number;
}

/**
 * Measures waits, and the delays of timers in this process: on a busy machine a deadline is only as exact as timers.
 */
export class Waits {
  readonly #timeoutMs: number;
  readonly #ticks: Tick[] = [];
  readonly #summary: WaitSummary;
  #lastTick = performance.now();
  #heldAt = Number.NEGATIVE_INFINITY;
  /** Calls over the deadline whose drift is not known yet. */
  #undecided = 0;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#summary = {
      worstMs: 0,
      worstOperation: '',
      worstOverMs: -timeoutMs,
      worstOverWithoutDriftMs: -timeoutMs,
      worstOverWithoutDriftOperation: '',
      overMargin: 0,
      overMarginWithoutDrift: 0,
      worstDriftMs: 0,
    };
  }

  /** A timer fired this late. */
  tick(late: number): void {
    this.#lastTick = performance.now();
    if (late > HELD_MS) {
      this.#heldAt = this.#lastTick;
      return;
    }
    this.#ticks.push({ at: this.#lastTick, late });
    if (this.#ticks.length > 2 * MAX_TICKS) this.#ticks.splice(0, MAX_TICKS);
    this.#summary.worstDriftMs = Math.max(this.#summary.worstDriftMs, late);
  }

  /** A call that began at this moment of `performance.now()` has just ended. */
  ended(operation: string, begun: number): void {
    const now = performance.now();
    const waited = now - begun;
    const summary = this.#summary;
    // The soak stopped this process in the meantime.
    if (now - this.#lastTick > HELD_MS || this.#heldAt >= begun) return;
    if (waited > summary.worstMs) Object.assign(summary, { worstMs: waited, worstOperation: operation });
    const over = waited - this.#timeoutMs;
    summary.worstOverMs = Math.max(summary.worstOverMs, over);
    if (over > MARGIN_MS) summary.overMargin++;
    if (over <= 0) {
      this.#withoutDrift(operation, over);
      return;
    }
    this.#undecided++;
    setTimeout(() => {
      this.#undecided--;
      this.#withoutDrift(operation, over - this.driftSince(begun));
    }, SETTLING_MS);
  }

  async summary(): Promise<WaitSummary> {
    while (this.#undecided > 0) await new Promise((resolve) => setTimeout(resolve, SETTLING_MS));
    return this.#summary;
  }

  #withoutDrift(operation: string, over: number): void {
    const summary = this.#summary;
    if (over > MARGIN_MS) summary.overMarginWithoutDrift++;
    if (over <= summary.worstOverWithoutDriftMs) return;
    summary.worstOverWithoutDriftMs = over;
    summary.worstOverWithoutDriftOperation = operation;
  }

  /** The longest delay of a timer in this process since this moment of `performance.now()`. */
  driftSince(begun: number): number {
    let worst = 0;
    for (let i = this.#ticks.length - 1; i >= 0; i--) {
      const { at, late } = this.#ticks[i] as Tick;
      if (at < begun) break;
      worst = Math.max(worst, late);
    }
    return worst;
  }
}

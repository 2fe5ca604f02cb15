import { monotonicMs } from './monotonic';

/**
 * The sessions and kicks of one run, which all processes know beforehand: none has to be informed during the run. A
 * kick ends the first live session, and another one joins them at the end of the list.
 */
export interface FleetPlan {
  tokens: string[];
  /** Live sessions at a time. */
  live: number;
  kicksPerSecond: number;
  /** When the run begins, by {@link monotonicMs}. */
  startAt: number;
  durationMs: number;
}

/** The number of kicks in the run. Kick number `n`, from 0, ends `tokens[n]`. */
export function kicksIn({ kicksPerSecond, durationMs }: Pick<FleetPlan, 'kicksPerSecond' | 'durationMs'>): number {
  return Math.floor((kicksPerSecond * durationMs) / 1000);
}

export function kickTime({ startAt, kicksPerSecond }: FleetPlan, kick: number): number {
  return startAt + (1000 * (kick + 0.5)) / kicksPerSecond;
}

/** The number of kicks that are due by now. The live sessions begin at that place in `tokens`. */
export function kicksDue(plan: FleetPlan): number {
  const due = Math.floor(((monotonicMs() - plan.startAt) * plan.kicksPerSecond) / 1000 + 0.5);
  return Math.min(Math.max(due, 0), kicksIn(plan));
}

import type { Parameters } from 'fast-check';

/** Overrides the runs of each property: FUZZ_RUNS=10000 for a long search. */
const WANTED = process.env.FUZZ_RUNS === undefined ? null : Number(process.env.FUZZ_RUNS);
if (WANTED !== null && !(Number.isSafeInteger(WANTED) && WANTED > 0)) {
  throw new RangeError(`FUZZ_RUNS must be a whole number from 1, got ${process.env.FUZZ_RUNS}`);
}

/** Milliseconds for a property with its default number of runs, shrinking included; a slower one hangs. */
const LONGEST = 400_000;

/** How long Jest waits for a property, so that its finding is printed. */
export const PROPERTY_TIMEOUT = WANTED === null ? 2 * LONGEST : 24 * 3_600_000;

/**
 * The parameters of a property: its number of runs, and those that repeat a failure. FUZZ_SEED, FUZZ_PATH and, for a
 * sequence of operations, FUZZ_REPLAY (`replayPath`) take what the failure has printed.
 */
export function runs<Given>(usual: number): Parameters<Given> {
  const { FUZZ_SEED: seed, FUZZ_PATH: path } = process.env;
  return {
    numRuns: WANTED ?? usual,
    interruptAfterTimeLimit: WANTED === null ? LONGEST : PROPERTY_TIMEOUT,
    markInterruptAsFailure: true,
    ...(seed !== undefined && { seed: Number(seed) }),
    ...(path !== undefined && { path }),
  };
}

/** The steps to repeat, see {@link runs}. */
export function replay(): { replayPath?: string } {
  const { FUZZ_REPLAY: replayPath } = process.env;
  return replayPath === undefined ? {} : { replayPath };
}

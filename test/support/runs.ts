import type { Parameters } from 'fast-check';

/** Runs of each property, in place of its own number: FUZZ_RUNS=10000 for a long search. */
const WANTED = process.env.FUZZ_RUNS === undefined ? null : Number(process.env.FUZZ_RUNS);
if (WANTED !== null && !(Number.isSafeInteger(WANTED) && WANTED > 0)) {
  throw new RangeError(`FUZZ_RUNS must be a whole number from 1, got ${process.env.FUZZ_RUNS}`);
}

/**
 * Milliseconds that a property may take with its own number of runs, shrinking included: what is slower than this
 * hangs.
 */
const LONGEST = 150_000;

/** How long Jest has to wait for a property, so that what it has found is printed. */
export const PROPERTY_TIMEOUT = WANTED === null ? 2 * LONGEST : 24 * 3_600_000;

/**
 * The parameters of a property: its number of runs, and the means to do them again. FUZZ_SEED and FUZZ_PATH take what a
 * failure has printed, and for a sequence of operations FUZZ_REPLAY its `replayPath`.
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

/** The steps to do again, see {@link runs}. */
export function replay(): { replayPath?: string } {
  const { FUZZ_REPLAY: replayPath } = process.env;
  return replayPath === undefined ? {} : { replayPath };
}

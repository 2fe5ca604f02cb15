/** Milliseconds of CLOCK_MONOTONIC, which on Linux is one and the same for all processes. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

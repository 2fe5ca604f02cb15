/**
 * Milliseconds of the monotonic clock of the machine, shared by all processes of the soak, so that their times are
 * comparable.
 */
export function machineNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

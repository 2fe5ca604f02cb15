/**
 * Milliseconds by the machine's monotonic clock: one for all processes of the soak, so that their moments can be
 * compared.
 */
export function machineNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

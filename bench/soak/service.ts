import type { Fault, FaultKind } from './faults';
import { isIn, slotOf } from './keys';
import type { WorkerRecord } from './messages';

/** The effect of a fault on the users. */
export interface FaultReport {
  kind: FaultKind;
  port: number;
  /** Milliseconds since the load began. */
  atMs: number;
  /** Milliseconds since the fault, here and below. */
  promotedAfterMs: number | null;
  healedAfterMs: number;
  /**
   * When the last user of each worker was served again; 0 if no call failed, `null` if a user had no service until the
   * next fault.
   */
  servedAgainAfterMs: Record<string, number | null>;
  failures: number;
  /** Failures of users whose sessions are on other masters. */
  failuresElsewhere: number;
}

/** For each fault, when all users were served again. */
export function reportFaults(
  faults: readonly Fault[],
  records: readonly WorkerRecord[],
  beganAt: number,
): FaultReport[] {
  const slots = new Map(
    records.flatMap(({ sessions }) => sessions.map(({ userId, token }) => [userId, slotOf(token)])),
  );
  return faults.map((fault, index) => {
    const next = faults.slice(index).find(({ at }) => at > fault.at)?.at ?? Infinity;
    const report: FaultReport = {
      kind: fault.kind,
      port: fault.port,
      atMs: fault.at - beganAt,
      promotedAfterMs: fault.promotedAt && fault.promotedAt - fault.at,
      healedAfterMs: fault.healedAt - fault.at,
      servedAgainAfterMs: {},
      failures: 0,
      failuresElsewhere: 0,
    };
    // Its effect on the users cannot be separated from that of the fault that it came with.
    if (fault.kind === 'unplanned') return report;
    for (const { name, users } of records) {
      let last: number | null = 0;
      for (const { id, outages } of users) {
        const isHit = isIn(fault.slots, slots.get(id) ?? -1);
        for (const { from, to, failures } of outages) {
          if (from < fault.at || from >= next) continue;
          if (isHit) report.failures += failures;
          else report.failuresElsewhere += failures;
          if (!isHit || last === null) continue;
          last = to === null || to >= next ? null : Math.max(last, to - fault.at);
        }
      }
      report.servedAgainAfterMs[name] = last;
    }
    return report;
  });
}

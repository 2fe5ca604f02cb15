import type { WorkerRecord } from './messages';
import type { FaultReport } from './service';
import { type Outcomes, sumOf, type Tally } from './tally';
import type { Verdict } from './verdict';
import { MARGIN_MS, type WaitSummary } from './waits';

/** All that came of one topology. */
export interface Part {
  title: string;
  seconds: number;
  timeoutMs: number;
  faults: FaultReport[];
  tally: Tally;
  verdicts: { plain: Verdict; durable: Verdict };
  workers: (Pick<WorkerRecord, 'name' | 'isDurable' | 'memory' | 'sockets'> & { waits: WaitSummary })[];
  unexpected: string[];
  crashes: string[];
  contradictions: string[];
}

export function workersOf(records: readonly WorkerRecord[]): Part['workers'] {
  return records.map(({ name, isDurable, memory, sockets, waits }) => ({ name, isDurable, memory, sockets, waits }));
}

/** Whether a part shows nothing wrong. The waits are no part of it: on a busy machine they say more about that. */
export function isFlawless({ verdicts, unexpected, crashes, contradictions }: Part): boolean {
  const faults = [verdicts.plain, verdicts.durable].flatMap(({ wronglyEnded, wronglyAlive, someoneElses }) => [
    ...wronglyEnded,
    ...wronglyAlive,
    ...someoneElses,
  ]);
  return [faults, unexpected, crashes, contradictions].every((list) => list.length === 0);
}

const MAX_FINDINGS = 10;
const MIB = 2 ** 20;

export function printPart(part: Part): void {
  const { verdicts, unexpected, crashes, contradictions } = part;
  console.log(`\n${part.title}; ${number(part.seconds)} s of load, timeoutMs ${part.timeoutMs}`);
  printOperations(part.tally);
  printFaults(part.faults);
  printWorkers(part);
  printVerdicts(verdicts);
  printFindings('wrongly ended', [...verdicts.plain.wronglyEnded, ...verdicts.durable.wronglyEnded]);
  printFindings('wrongly alive', [...verdicts.plain.wronglyAlive, ...verdicts.durable.wronglyAlive]);
  printFindings("wrongly someone else's", [...verdicts.plain.someoneElses, ...verdicts.durable.someoneElses]);
  printFindings('unexpected errors', unexpected);
  printFindings('crashes, unhandled rejections, warnings', crashes);
  printFindings('contradictions in the last look', contradictions);
}

function printOperations(tally: Tally): void {
  const rows = Object.entries(tally).map(([operation, outcomes]) => [operation, ...cellsOf(outcomes)]);
  const total = sumOf(Object.values(tally).map((outcomes) => ({ check: outcomes }))).check ?? {};
  printTable([
    ['operations', 'done', '503 unavailable', '503 timeout', '503 not replicated', 'unexpected'],
    ...rows,
    ['all', ...cellsOf(total)],
  ]);
}

function cellsOf(outcomes: Outcomes): string[] {
  const codes = ['done', 'ERR_STORE_UNAVAILABLE', 'ERR_STORE_TIMEOUT', 'ERR_NOT_REPLICATED', 'unexpected'];
  return codes.map((code) => number(outcomes[code] ?? 0));
}

function printFaults(faults: readonly FaultReport[]): void {
  const names = Object.keys(faults[0]?.servedAgainAfterMs ?? {});
  printTable([
    ['faults', 'at s', 'promoted ms', 'healed ms', ...names.map((name) => `${name} served ms`), '503s', 'elsewhere'],
    ...faults.map((fault, index) => [
      `${index + 1} ${fault.kind} ${fault.port}`,
      (fault.atMs / 1000).toFixed(1),
      fault.promotedAfterMs === null ? '-' : number(fault.promotedAfterMs),
      number(fault.healedAfterMs),
      ...names.map((name) => {
        const ms = fault.servedAgainAfterMs[name];
        if (ms === undefined) return '-';
        return ms === null ? 'NEVER' : number(ms);
      }),
      number(fault.failures),
      number(fault.failuresElsewhere),
    ]),
  ]);
}

function printWorkers({ workers, timeoutMs }: Part): void {
  printTable([
    ['workers', 'worst wait ms', 'over', 'over, less drift', 'in', 'worst drift', 'RSS MiB', 'heap MiB', 'sockets'],
    ...workers.map(({ name, isDurable, waits, memory, sockets }) => [
      isDurable ? `${name} (durable)` : name,
      number(waits.worstMs),
      number(waits.worstOverMs),
      number(waits.worstOverWithoutDriftMs),
      waits.worstOverWithoutDriftOperation,
      number(waits.worstDriftMs),
      `${number(memory.rssBefore / MIB)} > ${number(memory.rssAfter / MIB)}`,
      `${number(memory.heapBefore / MIB)} > ${number(memory.heapAfter / MIB)}`,
      `${sockets.before} > ${sockets.after}`,
    ]),
  ]);
  const late = workers.reduce((sum, { waits }) => sum + waits.overMargin, 0);
  const lateWithoutDrift = workers.reduce((sum, { waits }) => sum + waits.overMarginWithoutDrift, 0);
  console.log(
    `  calls over ${timeoutMs} + ${MARGIN_MS} ms: ${late}, less the drift ${lateWithoutDrift}: ${lateWithoutDrift === 0 ? 'met' : 'MISSED'}`,
  );
}

function printVerdicts({ plain, durable }: Part['verdicts']): void {
  const row = (label: string, value: (verdict: Verdict) => number) => [
    label,
    number(value(plain)),
    number(value(durable)),
  ];
  printTable([
    ['sessions', 'plain', 'durable'],
    row('started', ({ sessions }) => sessions),
    row('live in the book', ({ live }) => live),
    row('ended in the book', ({ ended }) => ended),
    row('of those, confirmed by replicas', ({ confirmed }) => confirmed),
    row('unknown in the book', ({ unknown }) => unknown),
    row('logins that failed', ({ failedLogins }) => failedLogins),
    row('sessions that these left', ({ leftByFailedLogins }) => leftByFailedLogins),
    row('lost with the master', ({ lostWithMaster }) => lostWithMaster),
    row('lost on a demoted master', ({ lostOnDemotion }) => lostOnDemotion),
    row('seen alive before the replay', ({ aliveBeforeReplay }) => aliveBeforeReplay),
    row('  at most, ms after service was back', ({ longestBeforeReplayMs }) => longestBeforeReplayMs),
    row('  of those, confirmed, and passed over by a handover', ({ passedOver }) => passedOver),
    row('WRONGLY ENDED', ({ wronglyEnded }) => wronglyEnded.length),
    row('WRONGLY ALIVE', ({ wronglyAlive }) => wronglyAlive.length),
    row("WRONGLY SOMEONE ELSE'S", ({ someoneElses }) => someoneElses.length),
  ]);
}

function printFindings(title: string, findings: readonly string[]): void {
  if (findings.length === 0) return;
  console.log(`  ${title}: ${findings.length}`);
  for (const finding of findings.slice(0, MAX_FINDINGS)) console.log(`    ${finding}`);
}

function printTable(rows: string[][]): void {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)), []);
  for (const row of rows) {
    const cells = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    console.log(`  ${cells.join('  ')}`);
  }
  console.log();
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en');
}

import { printTable as printRows } from '../report';
import { type CacheVerdict, TOLERANCE_MS } from './cache-verdict';
import type { WorkerRecord } from './messages';
import type { FaultReport } from './service';
import { type Outcomes, sumOf, type Tally } from './tally';
import type { Verdict } from './verdict';
import type { VisitVerdict } from './visit-verdict';
import { MARGIN_MS, type WaitSummary } from './waits';

/** The results of one topology. */
export interface Part {
  title: string;
  seconds: number;
  timeoutMs: number;
  faults: FaultReport[];
  tally: Tally;
  verdicts: { plain: Verdict; durable: Verdict; caches: CacheVerdict; visits: VisitVerdict };
  workers: (Pick<WorkerRecord, 'name' | 'isDurable' | 'memory' | 'sockets' | 'cache'> & { waits: WaitSummary })[];
  unexpected: string[];
  crashes: string[];
  contradictions: string[];
}

export function workersOf(records: readonly WorkerRecord[]): Part['workers'] {
  return records.map(({ name, isDurable, memory, sockets, waits, cache }) => ({
    name,
    isDurable,
    memory,
    sockets,
    waits,
    cache,
  }));
}

/** Whether a part shows no fault. Excludes waits, which depend on the load of the machine. */
export function isFlawless({ faults, verdicts, unexpected, crashes, contradictions }: Part): boolean {
  const findings = [verdicts.plain, verdicts.durable].flatMap(
    ({ wronglyEnded, wronglyAlive, wronglyLost, someoneElses }) => [
      wronglyEnded,
      wronglyAlive,
      wronglyLost,
      someoneElses,
    ],
  );
  const { visits } = verdicts;
  findings.push(visits.wronglyEnded, visits.wronglyAlive, visits.wronglyLost);
  findings.push(unservedAfter(faults), verdicts.caches.wronglyAlive, unexpected, crashes, contradictions);
  return findings.every((list) => list.length === 0);
}

/** Faults after which some users of a worker were not served before the next fault. */
function unservedAfter(faults: readonly FaultReport[]): string[] {
  return faults.flatMap(({ kind, atMs, servedAgainAfterMs }) =>
    Object.entries(servedAgainAfterMs).flatMap(([name, ms]) =>
      ms === null ? [`${name}, after ${kind} at ${(atMs / 1000).toFixed(1)} s`] : [],
    ),
  );
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
  printVisits(verdicts.visits);
  printCaches(part);
  printFindings('wrongly ended', [...verdicts.plain.wronglyEnded, ...verdicts.durable.wronglyEnded]);
  printFindings('wrongly alive', [...verdicts.plain.wronglyAlive, ...verdicts.durable.wronglyAlive]);
  printFindings('wrongly alive, from memory', verdicts.caches.wronglyAlive);
  printFindings("wrongly someone else's", [...verdicts.plain.someoneElses, ...verdicts.durable.someoneElses]);
  printFindings('data wrongly lost', [...verdicts.plain.wronglyLost, ...verdicts.durable.wronglyLost]);
  printFindings('visitors wrongly ended', verdicts.visits.wronglyEnded);
  printFindings('visitors wrongly alive', verdicts.visits.wronglyAlive);
  printFindings("visitors' data wrongly lost", verdicts.visits.wronglyLost);
  printFindings('not served again', unservedAfter(part.faults));
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
    row('times that clients went on to a new token', ({ rotations }) => rotations),
    row('ended by the use of a former token', ({ reused }) => reused),
    row('uses of new tokens lost in a failover, as lists show', ({ movesLost }) => movesLost),
    row('former tokens live again by that', ({ reuseLost }) => reuseLost),
    row('logins that failed', ({ failedLogins }) => failedLogins),
    row('sessions that these left', ({ leftByFailedLogins }) => leftByFailedLogins),
    row('lost with the master', ({ lostWithMaster }) => lostWithMaster),
    row('lost on a demoted master', ({ lostOnDemotion }) => lostOnDemotion),
    row('seen alive before the replay', ({ aliveBeforeReplay }) => aliveBeforeReplay),
    row('  at most, ms after service was back', ({ longestBeforeReplayMs }) => longestBeforeReplayMs),
    row('  of those, confirmed, and passed over by a handover', ({ passedOver }) => passedOver),
    row('acknowledged writes of data', ({ dataWrites }) => dataWrites),
    row('of those, lost in a failover', ({ dataLost }) => dataLost),
    row('WRONGLY ENDED', ({ wronglyEnded }) => wronglyEnded.length),
    row('WRONGLY ALIVE', ({ wronglyAlive }) => wronglyAlive.length),
    row('DATA WRONGLY LOST', ({ wronglyLost }) => wronglyLost.length),
    row("WRONGLY SOMEONE ELSE'S", ({ someoneElses }) => someoneElses.length),
  ]);
}

function printVisits(verdict: VisitVerdict): void {
  printTable([
    ['visitors', ''],
    ['started', number(verdict.visits)],
    ['logged in, with their data', number(verdict.loggedIn)],
    ['stayed away, and seen expired', number(verdict.expired)],
    ['acknowledged writes of data', number(verdict.writes)],
    ['of those, lost in a failover', number(verdict.writesLost)],
    ['lost in a failover themselves', number(verdict.lost)],
    ['seen alive after the login, before the replay', number(verdict.aliveBeforeReplay)],
    ['WRONGLY ENDED', number(verdict.wronglyEnded.length)],
    ['WRONGLY ALIVE', number(verdict.wronglyAlive.length)],
    ['DATA WRONGLY LOST', number(verdict.wronglyLost.length)],
  ]);
}

function printCaches({ workers, verdicts: { caches } }: Part): void {
  const cached = workers.flatMap(({ name, cache }) => (cache === null ? [] : [{ name, ...cache }]));
  if (cached.length === 0) return;
  printTable([
    ['near caches', 'looks', 'from memory', 'kept in the end', 'down', 'up', 'down for ms', 'longest'],
    ...cached.map(({ name, hits, misses, entries, downs, ups, downMs, longestDownMs }) => [
      name,
      number(hits + misses),
      `${((100 * hits) / Math.max(1, hits + misses)).toFixed(1)}%`,
      number(entries),
      number(downs),
      number(ups),
      number(downMs),
      number(longestDownMs),
    ]),
  ]);
  const causes = cached.flatMap(({ name, causes }) =>
    Object.entries(causes).map(([cause, times]) => [name, cause, number(times)]),
  );
  if (causes.length > 0) printTable([['down, because', '', 'times'], ...causes]);
  const { ends, seenAlive, longestMs, beyondTolerance, again } = caches;
  printTable([
    ['ended sessions, by near caches', ''],
    ['kept in memory when their own process ended them', number(ends.own)],
    ['kept in memory when another process ended them', number(ends.foreign)],
    ['seen alive from memory after the end', number(seenAlive)],
    ['  at most, ms, outside of faults', number(longestMs.outside)],
    ['  at most, ms, around faults of their master', number(longestMs.around)],
    [`  of those, for longer than ${TOLERANCE_MS} ms`, number(beyondTolerance)],
    ['alive again by a failover, and kept so', number(again)],
    ['  at most, ms after Redis was asked', number(longestMs.again)],
    ['WRONGLY ALIVE', number(caches.wronglyAlive.length)],
  ]);
}

function printFindings(title: string, findings: readonly string[]): void {
  if (findings.length === 0) return;
  console.log(`  ${title}: ${findings.length}`);
  for (const finding of findings.slice(0, MAX_FINDINGS)) console.log(`    ${finding}`);
}

function printTable(rows: string[][]): void {
  printRows(rows);
  console.log();
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en');
}

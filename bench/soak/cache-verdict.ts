import type { ForeignRecall, OwnRecall, Recall, SessionEntry } from './book';
import type { CachePromise } from './cache-diary';
import { type Fault, isHarmless } from './faults';
import { isIn, slotOf } from './keys';
import type { WorkerRecord } from './messages';
import { timesOf } from './verdict';

/**
 * The verdict on near-cache answers for ended sessions. Counts each session once for each cache.
 */
export interface CacheVerdict {
  /** Ends of sessions that a cache had answered for in the second before: only those can show a fault. */
  ends: { own: number; foreign: number };
  /** Sessions answered as live after their acknowledged end, from a reply of Redis before it. */
  seenAlive: number;
  /**
   * The longest time in milliseconds from an end to such an answer; `again`: from the reply of Redis about a session
   * that a failover had revived.
   */
  longestMs: { outside: number; around: number; again: number };
  /** Those of {@link seenAlive} near faults that were answered longer than a message takes. */
  beyondTolerance: number;
  /**
   * Sessions that Redis itself reported as live after their end, and that were cached. The other verdict judges the
   * replies of Redis.
   */
  again: number;
  /** Those beyond the promised time. */
  wronglyAlive: string[];
}

/** The longest time of a message on a busy machine with fewer cores than processes. */
export const TOLERANCE_MS = 250;
/** A silent server is noticed after two heartbeats without a reply. */
const LEASE_HEARTBEATS = 2;
/** A cache that answered for a session this recently has it in memory. */
const KEPT_MS = 1000;

/** Judges the answers of all caches, by the records of the processes that ended the sessions. */
export function judgeCaches(records: readonly WorkerRecord[], faults: readonly Fault[]): CacheVerdict {
  const verdict: CacheVerdict = {
    ends: { own: 0, foreign: 0 },
    seenAlive: 0,
    longestMs: { outside: 0, around: 0, again: 0 },
    beyondTolerance: 0,
    again: 0,
    wronglyAlive: [],
  };
  const sessions = new Map(records.flatMap((record) => record.sessions.map((entry) => [entry.id, entry])));
  for (const { name, cache, sessions: own, foreign } of records) {
    if (cache === null) continue;
    const { promise } = cache;
    for (const entry of own) {
      if (wasKept(entry, [entry.keptAt ?? Number.NEGATIVE_INFINITY])) verdict.ends.own++;
      judgeOwn({ name, promise, entry, faults: faultsOf(entry, faults) }, verdict);
    }
    for (const { id, recalls } of foreign) {
      const entry = sessions.get(id);
      if (entry === undefined || entry.fate !== 'ended' || entry.endedAt === null) continue;
      const recalledAt = recalls.map(({ at }) => at);
      if (wasKept(entry, recalledAt)) verdict.ends.foreign++;
      judgeForeign({ name, promise, entry, faults: faultsOf(entry, faults) }, entry.endedAt, recalls, verdict);
    }
  }
  return verdict;
}

interface Case {
  /** The worker with this cache. */
  name: string;
  promise: CachePromise;
  entry: SessionEntry;
  /** The faults of the session's master. */
  faults: readonly Fault[];
}

function faultsOf({ token }: SessionEntry, faults: readonly Fault[]): Fault[] {
  return faults.filter(({ slots }) => isIn(slots, slotOf(token)));
}

function wasKept({ endBegunAt, fate }: SessionEntry, recalledAt: readonly number[]): boolean {
  return (
    fate === 'ended' && recalledAt.some((at) => endBegunAt !== null && at < endBegunAt && endBegunAt - at < KEPT_MS)
  );
}

/** A broken connection is noticed at once: only a silent server may take time. */
function isSilence({ kind }: Fault): boolean {
  return !isHarmless(kind);
}

/** A process must evict at once what it ends itself, with or without Redis. */
function judgeOwn(matter: Case, verdict: CacheVerdict): void {
  const { entry } = matter;
  const isStale = ({ askedAt, endSettledAt }: OwnRecall) => askedAt <= endSettledAt;
  const stale = entry.recalls.filter(isStale);
  const last = stale.at(-1);
  if (last !== undefined) {
    verdict.seenAlive++;
    const what = `${stale.length} times after its own process had asked to end it`;
    verdict.wronglyAlive.push(describe(matter, what, last.endSettledAt, last));
  }
  // A session whose end failed counts as live.
  const { fate, endedAt } = entry;
  if (fate !== 'ended' || endedAt === null) return;
  judgeAgain(
    matter,
    endedAt,
    entry.recalls.filter((recall) => recall.at > endedAt && !isStale(recall)),
    verdict,
  );
}

function judgeForeign(matter: Case, endedAt: number, recalls: readonly ForeignRecall[], verdict: CacheVerdict): void {
  const after = recalls.filter(({ at }) => at > endedAt);
  const stale = after.filter(({ askedAt }) => askedAt <= endedAt);
  judgeAgain(
    matter,
    endedAt,
    after.filter(({ askedAt }) => askedAt > endedAt),
    verdict,
  );
  if (stale.length === 0) return;
  verdict.seenAlive++;
  const { heartbeatMs, maxAgeMs } = matter.promise;
  let worst: { recall: Recall; over: number; what: string } | null = null;
  let longestAroundMs = 0;
  for (const recall of stale) {
    const ms = recall.at - endedAt;
    const isAround = matter.faults.some(
      (fault) => isSilence(fault) && fault.at <= recall.at && endedAt <= fault.healedAt,
    );
    // Whatever is lost, the answer can only be as old as the last reply of Redis before the end.
    const allowed = Math.min(maxAgeMs, isAround ? LEASE_HEARTBEATS * heartbeatMs : TOLERANCE_MS);
    if (isAround) longestAroundMs = Math.max(longestAroundMs, ms);
    else verdict.longestMs.outside = Math.max(verdict.longestMs.outside, ms);
    const over = ms - allowed - recall.driftMs;
    const where = isAround ? 'around a fault' : 'outside of faults';
    const what = `${where}, with a drift of ${Math.round(recall.driftMs)} ms`;
    if (over > (worst?.over ?? 0)) worst = { recall, over, what };
  }
  verdict.longestMs.around = Math.max(verdict.longestMs.around, longestAroundMs);
  if (longestAroundMs > TOLERANCE_MS) verdict.beyondTolerance++;
  if (worst !== null) verdict.wronglyAlive.push(describe(matter, worst.what, endedAt, worst.recall));
}

/**
 * After a failover Redis itself may report an ended session as live. It may be cached until its end is repeated, at
 * most for the promised time.
 */
function judgeAgain(matter: Case, endedAt: number, recalls: readonly Recall[], verdict: CacheVerdict): void {
  if (recalls.length === 0) return;
  verdict.again++;
  const ageOf = ({ at, askedAt }: Recall) => at - askedAt;
  const oldest = recalls.reduce((a, b) => (ageOf(b) > ageOf(a) ? b : a));
  verdict.longestMs.again = Math.max(verdict.longestMs.again, ageOf(oldest));
  if (ageOf(oldest) < matter.promise.maxAgeMs) return;
  verdict.wronglyAlive.push(describe(matter, 'by an answer that was older than it may be', endedAt, oldest));
}

function describe({ name, entry, faults }: Case, what: string, endedAt: number, { at, askedAt }: Recall): string {
  const moments = timesOf(entry, faults, { 'Redis asked': askedAt, 'seen alive': at });
  return `${entry.device}: alive in the memory of ${name}, ${what}, ${Math.round(at - endedAt)} ms after its end; ${moments}`;
}

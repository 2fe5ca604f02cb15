import type { ForeignRecall, OwnRecall, Recall, SessionEntry } from './book';
import { type Fault, isHarmless } from './faults';
import { isIn, slotOf } from './keys';
import type { CachePromise, WorkerRecord } from './messages';
import { timesOf } from './verdict';

/**
 * What the near caches answered from memory for sessions that had ended. Each session is counted once for each cache.
 */
export interface CacheVerdict {
  /** Ends of sessions that a cache had answered for in the second before: those in which anything could be seen. */
  ends: { own: number; foreign: number };
  /** Sessions seen alive after their end was acknowledged, by what Redis had said before it. */
  seenAlive: number;
  /**
   * Milliseconds after the end at which one was last seen so, and after Redis was asked for one that a failover had
   * brought back.
   */
  longestMs: { outside: number; around: number; again: number };
  /** Of {@link seenAlive}, those around faults that were alive for longer than a message takes. */
  beyondTolerance: number;
  /**
   * Sessions that Redis itself gave as alive after their end, which is judged where Redis's answers are, and that were
   * kept so.
   */
  again: number;
  /** Beyond what is promised. */
  wronglyAlive: string[];
}

/** What a message may take on a busy machine, of whose cores there are fewer than processes. */
export const TOLERANCE_MS = 250;
/** Until two heartbeats, without answer, nothing is noticed of a server that has gone silent. */
const LEASE_HEARTBEATS = 2;
/** A cache that has answered for a session within this is one that has it in memory. */
const KEPT_MS = 1000;

/** Judges what all caches answered, by what the processes that ended the sessions know. */
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
  /** Of the worker that has the cache. */
  name: string;
  promise: CachePromise;
  entry: SessionEntry;
  /** Those of the session's master. */
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

/** A connection that breaks is noticed at once: only of a server that says nothing may it take time. */
function isSilence({ kind }: Fault): boolean {
  return !isHarmless(kind);
}

/** What a process ends, it must forget at once, whether or not Redis is there to tell it. */
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
  // One whose end has failed is alive for all that anybody knows.
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
    // Whatever is lost: it can only be as old as what Redis said before the end.
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
 * After a failover Redis itself may say that it is alive. That may be kept until it is ended again, and for no longer
 * than anything.
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

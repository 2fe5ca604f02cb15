import type { ForeignEntry, SessionEntry, Setback, UserEntry } from './book';
import { compareData } from './data-entry';
import { type Fault, losesNothing } from './faults';
import type { FinalLook } from './final-look';
import { isIn, slotOf } from './keys';
import type { FoundReuse, WorkerRecord } from './messages';
import type { Sighting } from './sighting';

/** The verdict from books, faults and servers together. Counts sessions, not sightings. */
export interface Verdict {
  sessions: number;
  live: number;
  ended: number;
  /** Of those, confirmed by replicas. */
  confirmed: number;
  unknown: number;
  /** How often clients changed to a new token. */
  rotations: number;
  /** Sessions that ended because a former token was used. */
  reused: number;
  /** Former tokens that were valid after their grace because a failover had lost the use of their children. */
  reuseLost: number;
  /** Lost uses of new tokens, as lists show. Many are repaired before a list could show them. */
  movesLost: number;
  wronglyEnded: string[];
  wronglyAlive: string[];
  /** Acknowledged data of live sessions. */
  wronglyLost: string[];
  someoneElses: string[];
  /** Acknowledged writes of data. */
  dataWrites: number;
  /** Of those, missing after a failover. */
  dataLost: number;
  /** Logins acknowledged in the last moments of a master, which its replica did not have. */
  lostWithMaster: number;
  /**
   * Logins acknowledged by a master that was being replaced and did not know: after a resume, a handover, or a failed
   * promotion.
   */
  lostOnDemotion: number;
  /** Ended sessions that were live after a failover until the process that ended them repeated it. */
  aliveBeforeReplay: number;
  longestBeforeReplayMs: number;
  /** Of those, confirmed only by a replica that lost a handover under Sentinel. */
  passedOver: number;
  /** Sessions left by failed logins. No client has their tokens. */
  leftByFailedLogins: number;
  failedLogins: number;
}

/** Writes that a master may not have replicated yet. */
const UNREPLICATED_MS = 2000;
/** Replies of a master that arrive after it was killed. */
const IN_FLIGHT_MS = 500;
/** Once service is back, a revocation must have been repeated within this. */
export const GRACE_MS = 5000;
/** The tolerance of wall clocks, between a login's millisecond and a kick's. */
const SAME_MOMENT_MS = 10;

/** Judges some of the workers, by the records of all. */
export function judge(
  records: readonly WorkerRecord[],
  all: readonly WorkerRecord[],
  faults: readonly Fault[],
  look: FinalLook,
): Verdict {
  const verdict: Verdict = {
    sessions: 0,
    live: 0,
    ended: 0,
    confirmed: 0,
    unknown: 0,
    rotations: 0,
    reused: 0,
    reuseLost: 0,
    movesLost: 0,
    wronglyEnded: [],
    wronglyAlive: [],
    wronglyLost: [],
    dataWrites: 0,
    dataLost: 0,
    someoneElses: records.flatMap(({ mixUps }) => mixUps),
    lostWithMaster: 0,
    lostOnDemotion: 0,
    aliveBeforeReplay: 0,
    longestBeforeReplayMs: 0,
    passedOver: 0,
    leftByFailedLogins: 0,
    failedLogins: 0,
  };
  const foreign = new Map<string, ForeignEntry[]>();
  for (const entry of all.flatMap((record) => record.foreign)) {
    foreign.set(entry.id, [...(foreign.get(entry.id) ?? []), entry]);
  }
  const reuses = new Map<string, FoundReuse>();
  for (const reuse of all.flatMap((record) => record.reuses)) {
    const first = reuses.get(reuse.sessionId);
    if (first === undefined || reuse.at < first.at) reuses.set(reuse.sessionId, reuse);
  }
  for (const { sessions, users, isDurable } of records) {
    const byId = new Map(users.map((user) => [user.id, user]));
    for (const entry of sessions) {
      const slot = slotOf(entry.token);
      const matter: Case = {
        entry,
        user: byId.get(entry.userId) as UserEntry,
        isDurable,
        faults: faults.filter(({ slots }) => isIn(slots, slot)),
        others: foreign.get(entry.id) ?? [],
        reuse: reuses.get(entry.id) ?? null,
        isAlive: look.alive.has(entry.id),
      };
      verdict.sessions++;
      verdict[entry.fate]++;
      if (entry.isConfirmed) verdict.confirmed++;
      verdict.rotations += entry.rotations;
      if (matter.reuse !== null) verdict.reused++;
      if (isWronglyReused(matter)) verdict.wronglyEnded.push(describeReuse(matter));
      else judgeDead(matter, verdict);
      judgeAlive(matter, verdict);
      judgeSetbacks(matter, verdict);
      judgeData(matter, look, verdict);
    }
    for (const user of users) judgeStrangers(user, look, verdict);
  }
  return verdict;
}

interface Case {
  entry: SessionEntry;
  user: UserEntry;
  isDurable: boolean;
  /** The faults of the session's master. */
  faults: Fault[];
  /** Sightings by other processes. */
  others: ForeignEntry[];
  /** The first reuse of its former token that a process found. */
  reuse: FoundReuse | null;
  /** Whether it was live at the end. */
  isAlive: boolean;
}

/** Whether a write acknowledged then may be lost with the master, whose replica did not have it. */
function mayLoseWithMaster(fault: Fault, { begun, settled }: Sighting): boolean {
  const { kind, at, promotedAt } = fault;
  // Until a second promotion, all writes went to a master that it replaced.
  const end = kind === 'unplanned' ? (promotedAt ?? at) : at;
  return !losesNothing(fault) && at - UNREPLICATED_MS <= settled && begun <= end + IN_FLIGHT_MS;
}

/** Whether a master acknowledged it then that was being replaced and did not yet know. */
function mayLoseOnDemotion(fault: Fault, { begun, settled }: Sighting): boolean {
  const { kind, backAt, healedAt } = fault;
  return !kind.startsWith('kill') && !losesNothing(fault) && backAt <= settled && begun <= healedAt;
}

export function mayLose(fault: Fault, answer: Sighting): boolean {
  return mayLoseWithMaster(fault, answer) || mayLoseOnDemotion(fault, answer);
}

/** Was it ended for a reuse before its own process used a former token? No failover excuses that. */
function isWronglyReused({ entry: { reuseBegunAt }, reuse }: Case): boolean {
  return reuse !== null && (reuseBegunAt === null || reuse.at < reuseBegunAt);
}

function describeReuse({ entry, faults, reuse }: Case): string {
  return `${entry.device}: ended for a reuse that was none; ${timesOf(entry, faults, { 'reuse found': reuse?.at ?? null })}`;
}

/** Was it seen dead before any call to end it? */
function judgeDead({ entry, faults, others, isAlive }: Case, verdict: Verdict): void {
  const { loginBegunAt, loggedInAt, endBegunAt, seenDead, seenBack, fate } = entry;
  const byOthers = others
    .flatMap((other) => other.seenDead ?? [])
    .filter(({ settled }) => endBegunAt === null || settled < endBegunAt)
    .sort((a, b) => a.begun - b.begun)[0];
  const seen = seenDead ?? byOthers ?? (fate === 'live' && !isAlive ? { begun: Infinity, settled: Infinity } : null);
  if (seen === null) return;
  const lastAlive = Math.max(seenBack?.begun ?? 0, ...others.map((other) => other.lastSeenAlive?.begun ?? 0));
  const isAliveInTheEnd = fate === 'live' && isAlive;
  const isBack = lastAlive > seen.settled || isAliveInTheEnd;
  const login = { begun: loginBegunAt, settled: loggedInAt };
  const lostWith = faults.find((fault) => mayLoseWithMaster(fault, login) && fault.at <= seen.settled);
  const lostOn = faults.find((fault) => mayLoseOnDemotion(fault, login));
  // A process that was stopped may call the old master until that learns that it was replaced.
  const isAnswerOfOld = (fault: Fault) => !isAliveInTheEnd && lastAlive <= fault.healedAt;
  const isLost = (fault: Fault | undefined) => fault !== undefined && (!isBack || isAnswerOfOld(fault));
  if (isLost(lostWith)) verdict.lostWithMaster++;
  else if (isLost(lostOn)) verdict.lostOnDemotion++;
  else {
    const by = seenDead !== null ? 'its own process' : byOthers !== undefined ? 'another process' : 'the last look';
    const then = isBack ? ', and was alive again later' : '';
    verdict.wronglyEnded.push(
      `${entry.device}: found dead by ${by}${then}; ${timesOf(entry, faults, { 'seen dead': seen.settled, 'alive again': isBack ? lastAlive : null })}`,
    );
  }
}

/** Was it seen live after its end was acknowledged? */
function judgeAlive(matter: Case, verdict: Verdict): void {
  const { entry, faults, others, isAlive } = matter;
  const { fate, endedAt, endCallBegunAt, isConfirmed, seenAlive } = entry;
  if (fate !== 'ended' || endedAt === null || endCallBegunAt === null) return;
  const byOthers = others.flatMap((other) => other.lastSeenAlive ?? []).filter(({ begun }) => begun > endedAt);
  const sightings = [...(seenAlive === null ? [] : [seenAlive.first, seenAlive.last]), ...byOthers];
  if (!isAlive && sightings.length === 0) return;
  const excuses = sightings.map((sighting) => excuseFor(matter, { begun: endCallBegunAt, settled: endedAt }, sighting));
  if (!isAlive && excuses.every((excuse) => excuse !== null)) {
    verdict.aliveBeforeReplay++;
    if (isConfirmed) verdict.passedOver++;
    verdict.longestBeforeReplayMs = Math.max(verdict.longestBeforeReplayMs, ...excuses);
    return;
  }
  const when = isAlive ? 'in the end' : `${sightings.length} times`;
  const how = isConfirmed ? 'confirmed by replicas, ' : '';
  verdict.wronglyAlive.push(
    `${entry.device}: ${how}seen alive ${when}; ${timesOf(entry, faults, {
      'first seen alive': Math.min(...sightings.map(({ begun }) => begun)),
      'last seen alive': Math.max(...sightings.map(({ begun }) => begun)),
    })}`,
  );
}

/** Was the use of a new token lost? */
function judgeSetbacks({ entry, faults }: Case, verdict: Verdict): void {
  const { missedReuse, lostMove } = entry;
  const isExcused = ({ use, seenAt }: Setback) => faults.some((fault) => fault.at <= seenAt && mayLose(fault, use));
  const wrong = (what: string, { use, seenAt }: Setback) =>
    verdict.wronglyAlive.push(
      `${entry.device}: ${what}; ${timesOf(entry, faults, { replaced: use.settled, seen: seenAt })}`,
    );
  if (missedReuse !== null) {
    if (isExcused(missedReuse)) verdict.reuseLost++;
    else wrong('a former token was live after its grace', missedReuse);
  }
  if (lostMove !== null) {
    if (isExcused(lostMove)) verdict.movesLost++;
    else wrong('a former token was listed after the use of a new one', lostMove);
  }
}

/** Were acknowledged writes of its data missing, then or at the end? */
function judgeData({ entry, faults, isAlive }: Case, look: FinalLook, verdict: Verdict): void {
  const { id, device, fate, data } = entry;
  if (fate === 'live' && isAlive)
    verdict.someoneElses.push(...compareData(data, device, look.data.get(id) ?? {}, Infinity));
  verdict.dataWrites += data.written;
  for (const { writes, missing, seenAt } of data.losses) {
    const mayBeLost = writes.filter((write) => faults.some((fault) => fault.at <= seenAt && mayLose(fault, write)));
    if (mayBeLost.length >= missing) verdict.dataLost += missing;
    else {
      const times = timesOf(entry, faults, { 'last written': writes.at(-1)?.settled ?? null, missed: seenAt });
      verdict.wronglyLost.push(`${device}: ${missing} acknowledged writes of data are missing; ${times}`);
    }
  }
}

/** Milliseconds from the return of service to the sighting; `null` when no failover explains it. */
function excuseFor(
  { entry, user, isDurable, faults }: Case,
  end: Sighting,
  { begun, settled }: Sighting,
): number | null {
  for (const fault of faults) {
    const { kind, slots, at, promotedAt, letGoAt } = fault;
    // The reply to a call that a stopped worker began before the fault may arrive after it.
    if (!mayLose(fault, end) || settled < at) continue;
    // A Cluster's handover waits for full replication. Sentinel promotes the most advanced replica, except in a
    // handover of a live master.
    if (entry.isConfirmed && (kind !== 'handover' || slots !== null)) continue;
    const servedAgain = user.outages.find(({ to }) => to !== null && to >= at)?.to ?? promotedAt ?? at;
    const after = begun - Math.max(servedAgain, end.settled, (isDurable && letGoAt) || 0);
    if (after <= GRACE_MS) return Math.max(0, after);
  }
  return null;
}

/** A failed login may have left a session, unless all were kicked afterwards. */
function judgeStrangers({ id, failedLogins, kickedAllAt }: UserEntry, look: FinalLook, verdict: Verdict): void {
  const strangers = look.strangers.get(id) ?? [];
  verdict.failedLogins += failedLogins;
  verdict.leftByFailedLogins += strangers.length;
  if (strangers.length > failedLogins) {
    verdict.someoneElses.push(
      `${id} has ${strangers.length} sessions more than it started, and ${failedLogins} failed`,
    );
  }
  for (const { createdAt } of strangers) {
    if (createdAt < kickedAllAt - SAME_MOMENT_MS) {
      verdict.wronglyAlive.push(`${id}: a session is alive that began ${kickedAllAt - createdAt} ms before a kick`);
    }
  }
}

/** The moments of a session's life, in milliseconds since its login, and those of the faults around them. */
export function timesOf(entry: SessionEntry, faults: readonly Fault[], more: Record<string, number | null>): string {
  const moments = { 'end asked': entry.endBegunAt, ended: entry.endedAt, ...more };
  const since = (at: number) => {
    const ms = Math.round(at - entry.loggedInAt);
    return Number.isFinite(ms) ? `${ms < 0 ? '' : '+'}${ms} ms` : 'in the end';
  };
  const own = Object.entries(moments).flatMap(([name, at]) => (at === null ? [] : `${name} ${since(at)}`));
  const times = [entry.loggedInAt, ...Object.values(moments)].filter((at) => at !== null);
  const isNear = ({ at, healedAt }: Fault) =>
    times.some((time) => at - GRACE_MS <= time && time <= healedAt + GRACE_MS);
  const around = faults
    .filter(isNear)
    .map(
      ({ kind, at, promotedAt, backAt, healedAt }) =>
        `${kind} ${since(at)}, promoted ${promotedAt === null ? 'never' : since(promotedAt)}, back ${since(backAt)}, healed ${since(healedAt)}`,
    );
  return [...own, ...around].join('; ');
}

import { idOf } from '../../test/support/session-id';
import type { Fault } from './faults';
import type { FinalLook } from './final-look';
import { isIn, slotOf } from './keys';
import type { WorkerRecord } from './messages';
import { GRACE_MS, mayLose } from './verdict';
import type { VisitEntry } from './visits';

/** The verdict on visitors. Counts sessions, and writes of their data. */
export interface VisitVerdict {
  visits: number;
  loggedIn: number;
  expired: number;
  writes: number;
  /** Lost in a failover: writes, and whole sessions. */
  writesLost: number;
  lost: number;
  /** Ended by a login, and live after a failover until the end was repeated. */
  aliveBeforeReplay: number;
  wronglyEnded: string[];
  wronglyAlive: string[];
  wronglyLost: string[];
}

export function judgeVisits(records: readonly WorkerRecord[], faults: readonly Fault[], look: FinalLook): VisitVerdict {
  const verdict: VisitVerdict = {
    visits: 0,
    loggedIn: 0,
    expired: 0,
    writes: 0,
    writesLost: 0,
    lost: 0,
    aliveBeforeReplay: 0,
    wronglyEnded: [],
    wronglyAlive: [],
    wronglyLost: [],
  };
  for (const visit of records.flatMap(({ visits }) => visits)) {
    const slot = slotOf(visit.token);
    const own = faults.filter(({ slots }) => isIn(slots, slot));
    verdict.visits++;
    if (visit.fate === 'logged in') verdict.loggedIn++;
    if (visit.fate === 'expired') verdict.expired++;
    judgeDead(visit, own, verdict);
    judgeAlive(visit, own, look, verdict);
    judgeData(visit, own, verdict);
  }
  return verdict;
}

/** Was it seen dead without an end or an expiry? */
function judgeDead({ name, began, used, seenDead }: VisitEntry, faults: readonly Fault[], verdict: VisitVerdict): void {
  if (seenDead === null) return;
  const isLost = faults.some(
    (fault) => fault.at <= seenDead.settled && (mayLose(fault, began) || mayLose(fault, used)),
  );
  if (isLost) verdict.lost++;
  else
    verdict.wronglyEnded.push(
      `the visitor ${name} was dead ${Math.round(seenDead.settled - used.begun)} ms after a use`,
    );
}

/** Was it seen live after its login, or after its expiry? */
function judgeAlive(visit: VisitEntry, faults: readonly Fault[], look: FinalLook, verdict: VisitVerdict): void {
  const { name, token, used, login, seenAlive, outlived } = visit;
  if (outlived !== null) {
    verdict.wronglyAlive.push(`the visitor ${name} lived ${Math.round(outlived.begun - used.settled)} ms after a use`);
  }
  if (login === null) return;
  const isAlive = look.visits.has(idOf(token));
  if (!isAlive && seenAlive === null) return;
  const isExcused =
    seenAlive !== null &&
    faults.some(({ at, healedAt, ...fault }) => {
      const isAround = at <= seenAlive.settled && seenAlive.begun <= healedAt + GRACE_MS;
      return isAround && mayLose({ at, healedAt, ...fault }, login);
    });
  if (isExcused && !isAlive) verdict.aliveBeforeReplay++;
  else verdict.wronglyAlive.push(`the visitor ${name} was alive after the login${isAlive ? ', and in the end' : ''}`);
}

function judgeData({ name, data }: VisitEntry, faults: readonly Fault[], verdict: VisitVerdict): void {
  verdict.writes += data.written;
  for (const { writes, missing, seenAt } of data.losses) {
    const mayBeLost = writes.filter((write) => faults.some((fault) => fault.at <= seenAt && mayLose(fault, write)));
    if (mayBeLost.length >= missing) verdict.writesLost += missing;
    else verdict.wronglyLost.push(`the visitor ${name}: ${missing} acknowledged writes of data are missing`);
  }
}

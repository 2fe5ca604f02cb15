import { machineNow } from './clock';
import { type DataEntry, newDataEntry } from './data-entry';
import { generationOf, idOf } from './keys';

/**
 * What must be true of a session. `live`: its login was acknowledged, and nothing since was asked that may have ended
 * it. `ended`: what ended it was acknowledged. `unknown`: what may have ended it is under way or has failed.
 */
export type Fate = 'live' | 'ended' | 'unknown';

/** A session that this process has started. Moments are of {@link machineNow}. */
export interface SessionEntry {
  id: string;
  /** The newest of its tokens that its client has taken. */
  token: string;
  userId: string;
  /** What its login has told the server, to know its answers by. */
  device: string;
  loginBegunAt: number;
  loggedInAt: number;
  fate: Fate;
  /** When it was first asked to end; `null` while it wasn't. */
  endBegunAt: number | null;
  endedAt: number | null;
  /** When the call began that ended it. A worker that is held reads its answer long after. */
  endCallBegunAt: number | null;
  /** Whether replicas have confirmed the end: then no failover may bring it back. */
  isConfirmed: boolean;
  /** The first answer that it is dead, while it was live in this book. */
  seenDead: Sighting | null;
  /** The first answer after that by which it is alive. */
  seenBack: Sighting | null;
  /** Answers of Redis that it is alive, to calls begun after its end was acknowledged. */
  seenAlive: { first: Sighting; last: Sighting; count: number } | null;
  /** When memory last answered for it before it was asked to end; `null` for never. */
  keptAt: number | null;
  /** Answers from memory after a call of this process that was to end it had settled, be it by failing. */
  recalls: OwnRecall[];
  /** How often its client has gone on to a new token. */
  rotations: number;
  /** When a former token was first used after its grace; `null` for never. */
  reuseBegunAt: number | null;
  /** The first answer by which a former token was live after its grace. */
  missedReuse: Setback | null;
  /** The first list that shows an older token than one whose use was acknowledged before. */
  lostMove: Setback | null;
  data: DataEntry;
}

/** An answer of Redis. */
export interface Sighting {
  begun: number;
  settled: number;
}

/** An answer of Redis without a token's first use, which it had acknowledged. */
export interface Setback {
  use: Sighting;
  seenAt: number;
}

/** An answer from memory, by which a session is alive. */
export interface Recall {
  at: number;
  /** When Redis was asked for what was answered. */
  askedAt: number;
}

/** An answer from memory about another process's session. */
export interface ForeignRecall extends Recall {
  /** The latest that a timer of its process came in the second before: messages were read no sooner. */
  driftMs: number;
}

export interface OwnRecall extends Recall {
  /** When the last call that was to end the session had settled. */
  endSettledAt: number;
}

/** A user to whom only this process writes. */
export interface UserEntry {
  id: string;
  /** Logins that failed: each may have left a session whose token nobody knows. */
  failedLogins: number;
  /** When the last acknowledged kick of all sessions began, by the wall clock; 0 for never. */
  kickedAllAt: number;
  outages: Outage[];
}

/** A time for which calls for a user failed. */
export interface Outage {
  from: number;
  /** When the first call that succeeded again was answered; `null` for none yet. */
  to: number | null;
  failures: number;
}

/** What was seen of another process's session. */
export interface ForeignEntry {
  id: string;
  token: string;
  userId: string;
  seenDead: Sighting | null;
  /** Of those that Redis gave. */
  lastSeenAlive: Sighting | null;
  /** The last answers from memory. */
  recalls: ForeignRecall[];
}

/** One of whom it is written down when Redis was last asked for what memory may now answer; 0 for never. */
export interface Foreign extends ForeignEntry {
  askedAt: number;
}

/** Of one session; those that are more are as old as those before. */
const MAX_RECALLS = 64;

export function addRecall<Kind extends Recall>(recalls: Kind[], recall: Kind): void {
  if (recalls.length === MAX_RECALLS) recalls.shift();
  recalls.push(recall);
}

/** What the book said when a call began. */
export interface Snapshot {
  fate: Fate;
  version: number;
  token: string;
  firstUse: Sighting | null;
}

/** A user with what this process has to know to write to them: one write at a time, lest the book be in doubt. */
export interface Account extends UserEntry {
  /** Live and unknown. */
  open: Page[];
  ended: Page[];
  isBusy: boolean;
  /** Counts the writes. */
  version: number;
  lastServedBegun: number;
}

export interface Page extends SessionEntry {
  /** Counts what may have ended it. */
  version: number;
  /** When Redis was last asked for what memory may now answer; 0 for never. */
  askedAt: number;
  endSettledAt: number | null;
  /** The child of its token that a rotation gave last, which the client may go on to. */
  child: string | null;
  /** The token before this one; `null` while the client has had only one. */
  former: string | null;
  /** The first use of this token that Redis has acknowledged, after the former one; `null` while there is none. */
  firstUse: Sighting | null;
  /** Whether a call on its data is in flight. */
  isDataBusy: boolean;
}

/** The book of one process: what it has been promised, and what it has seen that contradicts it. */
export class Book {
  readonly accounts: Account[];
  /** Those whose last call failed. */
  readonly failing = new Set<Account>();
  readonly #pages: Page[] = [];

  constructor(userIds: readonly string[]) {
    this.accounts = userIds.map((id) => ({
      id,
      failedLogins: 0,
      kickedAllAt: 0,
      outages: [],
      open: [],
      ended: [],
      isBusy: false,
      version: 0,
      lastServedBegun: 0,
    }));
  }

  /** @param data what the session begins with. */
  loggedIn(account: Account, token: string, device: string, loginBegunAt: number, data = newDataEntry()): void {
    const page: Page = {
      id: idOf(token),
      token,
      userId: account.id,
      device,
      loginBegunAt,
      loggedInAt: machineNow(),
      fate: 'live',
      endBegunAt: null,
      endedAt: null,
      endCallBegunAt: null,
      isConfirmed: false,
      seenDead: null,
      seenBack: null,
      seenAlive: null,
      keptAt: null,
      recalls: [],
      rotations: 0,
      reuseBegunAt: null,
      missedReuse: null,
      lostMove: null,
      data,
      version: 0,
      askedAt: 0,
      endSettledAt: null,
      child: null,
      former: null,
      firstUse: null,
      isDataBusy: false,
    };
    account.open.push(page);
    this.#pages.push(page);
  }

  /** The client goes on to the child that it was given. */
  goesOn(page: Page, child: string): void {
    Object.assign(page, { former: page.token, token: child, child: null, firstUse: null });
    page.rotations++;
  }

  /** Redis has acknowledged a use of this token. */
  used(page: Page, token: string, sighting: Sighting): void {
    if (page.token === token && page.former !== null) page.firstUse ??= sighting;
  }

  /** A list, begun when the book said this, shows this token of the session. */
  listed(page: Page, { token, firstUse }: Snapshot, listed: string, { settled }: Sighting): void {
    if (firstUse === null || generationOf(listed) >= generationOf(token)) return;
    page.lostMove ??= { use: firstUse, seenAt: settled };
  }

  /** Something is asked that may end it; until that is acknowledged nobody knows. */
  ending(page: Page): void {
    page.fate = 'unknown';
    page.version++;
    page.endBegunAt ??= machineNow();
  }

  /** A call that was to end it has settled: it may have ended it, also if it failed. */
  endSettled(page: Page): void {
    page.endSettledAt = machineNow();
  }

  ended(account: Account, page: Page, callBegunAt: number, isConfirmed: boolean): void {
    page.fate = 'ended';
    page.version++;
    page.endedAt = machineNow();
    page.endCallBegunAt = callBegunAt;
    page.isConfirmed = isConfirmed;
    account.open = account.open.filter((other) => other !== page);
    account.ended.push(page);
  }

  snapshot({ fate, version, token, firstUse }: Page): Snapshot {
    return { fate, version, token, firstUse };
  }

  /** Memory has answered that it is alive. */
  recalled(page: Page, at: number): void {
    const { askedAt, endSettledAt } = page;
    if (page.endBegunAt === null) page.keptAt = at;
    if (endSettledAt !== null && at > endSettledAt) addRecall(page.recalls, { at, askedAt, endSettledAt });
  }

  /** An answer of Redis to a call that began when the book said this. */
  observed(page: Page, before: Snapshot, isAlive: boolean, sighting: Sighting): void {
    if (isAlive && before.fate === 'ended') {
      page.seenAlive ??= { first: sighting, last: sighting, count: 0 };
      page.seenAlive.last = sighting;
      page.seenAlive.count++;
    }
    if (isAlive && page.seenDead !== null && sighting.begun > page.seenDead.settled) page.seenBack ??= sighting;
    if (!isAlive && this.isStillLive(page, before)) page.seenDead ??= sighting;
  }

  /** Whether it was live, and nothing was asked since that may have ended it. */
  isStillLive({ version }: Page, before: Snapshot): boolean {
    return before.fate === 'live' && before.version === version;
  }

  /** A call for this user was answered. */
  served(account: Account, begun: number): void {
    account.lastServedBegun = Math.max(account.lastServedBegun, begun);
    const outage = account.outages.at(-1);
    if (outage === undefined || outage.to !== null || begun < outage.from) return;
    outage.to = machineNow();
    this.failing.delete(account);
  }

  /** A call for this user failed. One that began before another that succeeded tells nothing new. */
  failed(account: Account, begun: number): void {
    if (begun < account.lastServedBegun) return;
    let outage = account.outages.at(-1);
    if (outage === undefined || outage.to !== null) {
      outage = { from: machineNow(), to: null, failures: 0 };
      account.outages.push(outage);
      this.failing.add(account);
    }
    outage.failures++;
  }

  /** What the judge needs, as messages can carry it. */
  sessions(): SessionEntry[] {
    return this.#pages.map(
      ({
        version: _,
        askedAt: _asked,
        endSettledAt: _settled,
        child: _child,
        former: _former,
        firstUse: _use,
        isDataBusy: _busy,
        ...entry
      }) => entry,
    );
  }

  users(): UserEntry[] {
    return this.accounts.map(({ id, failedLogins, kickedAllAt, outages }) => ({
      id,
      failedLogins,
      kickedAllAt,
      outages,
    }));
  }
}

import { idOf } from '../../test/support/session-id';
import { monotonicMs } from '../monotonic';
import { type DataEntry, newDataEntry } from './data-entry';
import { generationOf } from './keys';
import type { Sighting } from './sighting';

/**
 * The expected state of a session. `live`: its login was acknowledged, and no call since may have ended it. `ended`:
 * its end was acknowledged. `unknown`: a call that may have ended it is in flight or has failed.
 */
type Fate = 'live' | 'ended' | 'unknown';

/** A session that this process has started. Moments are of {@link monotonicMs}. */
export interface SessionEntry {
  id: string;
  /** The newest of its tokens that its client has taken. */
  token: string;
  userId: string;
  /** The device of its login, by which replies are checked. */
  device: string;
  loginBegunAt: number;
  loggedInAt: number;
  fate: Fate;
  /** When it was first asked to end; `null` while it wasn't. */
  endBegunAt: number | null;
  endedAt: number | null;
  /** When the call began that ended it. A stopped worker reads the reply long after. */
  endCallBegunAt: number | null;
  /** Whether replicas have confirmed the end: then no failover may revive it. */
  isConfirmed: boolean;
  /** The first reply that it is dead, while this book has it as live. */
  seenDead: Sighting | null;
  /** The first reply after that by which it is live. */
  seenBack: Sighting | null;
  /** Replies of Redis that it is live, to calls that began after its end was acknowledged. */
  seenAlive: { first: Sighting; last: Sighting; count: number } | null;
  /** When the near cache last answered for it before the call to end it; `null` for never. */
  keptAt: number | null;
  /** Near-cache answers after a call of this process to end it had settled, even by failing. */
  recalls: OwnRecall[];
  /** How often its client has changed to a new token. */
  rotations: number;
  /** When a former token was first used after its grace; `null` for never. */
  reuseBegunAt: number | null;
  /** The first reply by which a former token was valid after its grace. */
  missedReuse: Setback | null;
  /** The first list with an older token than one whose use was acknowledged before. */
  lostMove: Setback | null;
  data: DataEntry;
}

/** A reply of Redis that lacks an acknowledged first use of a token. */
export interface Setback {
  use: Sighting;
  seenAt: number;
}

/** A near-cache answer by which a session is live. */
export interface Recall {
  at: number;
  /** When Redis was called for this answer. */
  askedAt: number;
}

/** A near-cache answer about another process's session. */
export interface ForeignRecall extends Recall {
  /** The longest timer delay of its process in the second before: messages were read no sooner. */
  driftMs: number;
}

export interface OwnRecall extends Recall {
  /** When the last call to end the session had settled. */
  endSettledAt: number;
}

/** A user that only this process writes to. */
export interface UserEntry {
  id: string;
  /** Failed logins: each may have left a session whose token no client has. */
  failedLogins: number;
  /** When the last acknowledged kick of all sessions began, by the wall clock; 0 for never. */
  kickedAllAt: number;
  outages: Outage[];
}

/** A period in which calls for a user failed. */
interface Outage {
  from: number;
  /** When the first successful call was answered; `null` for none yet. */
  to: number | null;
  failures: number;
}

/** Sightings of another process's session. */
export interface ForeignEntry {
  id: string;
  token: string;
  userId: string;
  seenDead: Sighting | null;
  /** Sightings from Redis. */
  lastSeenAlive: Sighting | null;
  /** The last near-cache answers. */
  recalls: ForeignRecall[];
}

/** When Redis was last called for what the near cache may now answer; 0 for never. */
export interface Foreign extends ForeignEntry {
  askedAt: number;
}

/** The answers for one session; later ones are as old as those before. */
const MAX_RECALLS = 64;

export function addRecall<Kind extends Recall>(recalls: Kind[], recall: Kind): void {
  if (recalls.length === MAX_RECALLS) recalls.shift();
  recalls.push(recall);
}

/** The state of the book when a call began. */
interface Snapshot {
  fate: Fate;
  version: number;
  token: string;
  firstUse: Sighting | null;
}

/** A user with the state for writing: one write at a time, so that the book is never in doubt. */
export interface Account extends UserEntry {
  /** Live sessions, and those with an unknown outcome. */
  open: Page[];
  ended: Page[];
  isBusy: boolean;
  /** Counts the writes. */
  version: number;
  lastServedBegun: number;
}

export interface Page extends SessionEntry {
  /** Counts the calls that may have ended it. */
  version: number;
  /** When Redis was last called for what the near cache may now answer; 0 for never. */
  askedAt: number;
  endSettledAt: number | null;
  /** The newest child of its token, which the client may use next. */
  child: string | null;
  /** The previous token; `null` while the client has had only one. */
  former: string | null;
  /** The first acknowledged use of this token, after the former one; `null` for none yet. */
  firstUse: Sighting | null;
  /** Whether a call on its data is in flight. */
  isDataBusy: boolean;
}

/** The book of one process: the promises to it, and the sightings that contradict them. */
export class Book {
  readonly accounts: Account[];
  /** Users whose last call failed. */
  readonly failing = new Set<Account>();
  readonly #pages: Page[] = [];
  #devices = 0;

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

  /** Runs a write to an account, excluding others. */
  async asOnlyWriter(account: Account, write: () => Promise<void>): Promise<void> {
    account.isBusy = true;
    account.version++;
    try {
      await write();
    } finally {
      account.isBusy = false;
    }
  }

  /** The name of a device of the user that no other login has. */
  nextDevice({ id }: Account): string {
    return `${id}#${++this.#devices}`;
  }

  /** @param data the initial data of the session. */
  loggedIn(account: Account, token: string, device: string, loginBegunAt: number, data = newDataEntry()): void {
    const page: Page = {
      id: idOf(token),
      token,
      userId: account.id,
      device,
      loginBegunAt,
      loggedInAt: monotonicMs(),
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

  /** The client changes to the child that it was given. */
  goesOn(page: Page, child: string): void {
    Object.assign(page, { former: page.token, token: child, child: null, firstUse: null });
    page.rotations++;
  }

  /** Redis has acknowledged a use of this token. */
  used(page: Page, token: string, sighting: Sighting): void {
    if (page.token === token && page.former !== null) page.firstUse ??= sighting;
  }

  /** A list that began in this state of the book shows this token of the session. */
  listed(page: Page, { token, firstUse }: Snapshot, listed: string, { settled }: Sighting): void {
    if (firstUse === null || generationOf(listed) >= generationOf(token)) return;
    page.lostMove ??= { use: firstUse, seenAt: settled };
  }

  /** A call that may end it begins; the outcome is unknown until it is acknowledged. */
  ending(page: Page): void {
    page.fate = 'unknown';
    page.version++;
    page.endBegunAt ??= monotonicMs();
  }

  /** A call to end it has settled: it may have ended it even if it failed. */
  endSettled(page: Page): void {
    page.endSettledAt = monotonicMs();
  }

  ended(account: Account, page: Page, callBegunAt: number, isConfirmed: boolean): void {
    page.fate = 'ended';
    page.version++;
    page.endedAt = monotonicMs();
    page.endCallBegunAt = callBegunAt;
    page.isConfirmed = isConfirmed;
    account.open = account.open.filter((other) => other !== page);
    account.ended.push(page);
  }

  snapshot({ fate, version, token, firstUse }: Page): Snapshot {
    return { fate, version, token, firstUse };
  }

  /** The near cache has answered that it is live. */
  recalled(page: Page, at: number): void {
    const { askedAt, endSettledAt } = page;
    if (page.endBegunAt === null) page.keptAt = at;
    if (endSettledAt !== null && at > endSettledAt) addRecall(page.recalls, { at, askedAt, endSettledAt });
  }

  /** A reply of Redis to a call that began in this state of the book. */
  observed(page: Page, before: Snapshot, isAlive: boolean, sighting: Sighting): void {
    if (isAlive && before.fate === 'ended') {
      page.seenAlive ??= { first: sighting, last: sighting, count: 0 };
      page.seenAlive.last = sighting;
      page.seenAlive.count++;
    }
    if (isAlive && page.seenDead !== null && sighting.begun > page.seenDead.settled) page.seenBack ??= sighting;
    if (!isAlive && this.isStillLive(page, before)) page.seenDead ??= sighting;
  }

  /** Whether it was live, and no call since may have ended it. */
  isStillLive({ version }: Page, before: Snapshot): boolean {
    return before.fate === 'live' && before.version === version;
  }

  /** A call for this user was answered. */
  served(account: Account, begun: number): void {
    account.lastServedBegun = Math.max(account.lastServedBegun, begun);
    const outage = account.outages.at(-1);
    if (outage === undefined || outage.to !== null || begun < outage.from) return;
    outage.to = monotonicMs();
    this.failing.delete(account);
  }

  /** A call for this user failed. One that began before a later success adds nothing. */
  failed(account: Account, begun: number): void {
    if (begun < account.lastServedBegun) return;
    let outage = account.outages.at(-1);
    if (outage === undefined || outage.to !== null) {
      outage = { from: monotonicMs(), to: null, failures: 0 };
      account.outages.push(outage);
      this.failing.add(account);
    }
    outage.failures++;
  }

  /** The part that the judge needs, as a message. */
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

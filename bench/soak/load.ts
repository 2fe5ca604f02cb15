import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TokenManager } from 'tokensession';
import { monotonicMs } from '../monotonic';
import { type Account, Book, type Page } from './book';
import { Calls } from './calls';
import { DataUse } from './data-use';
import { ForeignSessions } from './foreign-sessions';
import type { FoundReuse, WorkerRecord } from './messages';
import type { Announce, News } from './news';
import { MAX_OPEN, OwnSessions } from './own-sessions';
import { liveOf, pick } from './picks';
import type { Operation } from './tally';
import { Vigil } from './vigil';
import { Visits } from './visits';
import type { Waits } from './waits';

/** The weight of each operation. Logins and ends balance at about three sessions a user. */
const MIX = [
  ['check', 28],
  ['touch', 14],
  ['refresh', 6],
  ['list', 7],
  ['rotate', 20],
  ['reuse', 4],
  ["check of others' tokens", 19],
  ['login', 14],
  ['logout', 6],
  ['kick one', 3],
  ['kick others', 1],
  ['kick all', 1],
  ['data set', 5],
  ['data increment', 6],
  ['data read', 8],
  ['visit', 20],
  ['health', 0.5],
] as const satisfies readonly (readonly [operation: Operation, weight: number])[];
type MixedOperation = (typeof MIX)[number][0];
const TOTAL_WEIGHT = MIX.reduce((sum, [, weight]) => sum + weight, 0);

const TICK_MS = 10;
/** Logins whose answers arrive while the event loop is blocked. */
const BLOCKED_LOGINS = 10;
/** With a near cache, checks of watched sessions a tick: each about 15 times a second. */
const WATCH_LOOKS = 5;
/** How often a user without service is tried again, to learn when it returns. */
const RETRY_SHARE = 0.25;

/** A steady stream of calls, and a book of their promises. */
export class Load {
  readonly #manager: TokenManager;
  readonly #waits: Waits;
  readonly #book: Book;
  readonly #calls: Calls;
  readonly #own: OwnSessions;
  readonly #data: DataUse;
  readonly #foreign: ForeignSessions;
  readonly #visits: Visits;
  /** `null` without a near cache. */
  readonly #vigil: Vigil | null;
  readonly #reuses: FoundReuse[] = [];
  readonly #operationsPerTick: number;
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #owed = 0;
  #inFlight = 0;

  constructor({
    manager,
    waits,
    announce,
    userIds,
    isDurable,
    isCached,
    graceMs,
    operationsPerSecond,
  }: {
    manager: TokenManager;
    waits: Waits;
    announce: Announce;
    userIds: readonly string[];
    isDurable: boolean;
    isCached: boolean;
    graceMs: number;
    operationsPerSecond: number;
  }) {
    const book = new Book(userIds);
    const calls = new Calls(manager, book, waits);
    const onEndSettled = (account: Account, pages: readonly Page[]) => this.#watchEnded(account, pages);
    this.#manager = manager;
    this.#waits = waits;
    this.#book = book;
    this.#calls = calls;
    this.#own = new OwnSessions({ manager, book, calls, announce, isDurable, graceMs, onEndSettled });
    this.#data = new DataUse(manager, book, calls);
    this.#foreign = new ForeignSessions(calls, waits);
    this.#visits = new Visits({ manager, book, calls, announce });
    this.#vigil = isCached ? this.#keepVigil() : null;
    this.#operationsPerTick = (operationsPerSecond * TICK_MS) / 1000;
    manager.on('reused', ({ sessionId }) => this.#reuses.push({ sessionId, at: monotonicMs() }));
  }

  record(): Pick<
    WorkerRecord,
    'sessions' | 'users' | 'foreign' | 'visits' | 'mixUps' | 'unexpected' | 'reuses' | 'tally'
  > {
    const { mixUps, unexpected, tally } = this.#calls;
    return {
      sessions: this.#book.sessions(),
      users: this.#book.users(),
      foreign: this.#foreign.entries,
      visits: this.#visits.entries,
      mixUps,
      unexpected,
      reuses: this.#reuses,
      tally,
    };
  }

  start(): void {
    this.#due = performance.now() + TICK_MS;
    this.#timer = setTimeout(this.#tick, TICK_MS);
  }

  /** Stops, and waits for the calls in flight. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#inFlight > 0) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }

  /** Blocks the event loop after logins were sent: their replies arrive in the meantime, and count. */
  async block(ms: number): Promise<void> {
    const idle = this.#book.accounts.filter(({ isBusy, open }) => !isBusy && open.length < MAX_OPEN);
    const logins = idle.slice(0, BLOCKED_LOGINS).map(async (account) => {
      const { failedLogins } = account;
      await this.#step(() => this.#own.write('login', account));
      if (account.failedLogins > failedLogins)
        this.#calls.fail('login', 'answered while its process was blocked, and reported as failed');
    });
    await nextTurn();
    for (const until = performance.now() + ms; performance.now() < until; );
    await Promise.all(logins);
  }

  /** Tokens of other processes' users, to check from now on. */
  take(news: News): void {
    this.#foreign.take(news);
  }

  readonly #tick = () => {
    const now = performance.now();
    this.#waits.tick(Math.max(0, now - this.#due));
    // Ticks missed while this process was suspended are skipped: they would make a burst.
    this.#due = Math.max(now, this.#due) + TICK_MS;
    this.#timer = setTimeout(this.#tick, this.#due - now);
    for (this.#owed += this.#operationsPerTick; this.#owed >= 1; this.#owed--) void this.#step(() => this.#operate());
    for (let i = 0; this.#vigil !== null && i < WATCH_LOOKS; i++) {
      const watched = this.#vigil.next();
      if (watched === null) continue;
      void this.#step(() =>
        watched.account === null
          ? this.#foreign.check('watch', watched.entry)
          : this.#own.lookAt('watch', watched.account, watched.page),
      );
    }
  };

  #keepVigil(): Vigil {
    const foreign = () => {
      const entry = this.#foreign.pickLive();
      return entry === undefined ? null : { account: null, entry };
    };
    const own = () => {
      const account = pick(this.#book.accounts) as Account;
      const page = pick(liveOf(account));
      return page === undefined ? null : { account, page };
    };
    return new Vigil(foreign, own);
  }

  #watchEnded(account: Account, pages: readonly Page[]): void {
    if (this.#vigil === null) return;
    // After the caller has recorded the ends, and before data can arrive from Redis.
    queueMicrotask(() => {
      for (const page of pages) void this.#step(() => this.#own.lookAt('watch', account, page));
    });
  }

  async #step(work: () => Promise<void>): Promise<void> {
    this.#inFlight++;
    try {
      await work();
    } catch (error) {
      // Every call of the manager is caught.
      this.#calls.fail('in the soak itself', error);
    } finally {
      this.#inFlight--;
    }
  }

  #operate(): Promise<void> {
    const failing = Math.random() < RETRY_SHARE ? pick([...this.#book.failing]) : undefined;
    if (failing !== undefined) return this.#own.look('check', failing);
    const operation = pickOperation();
    const account = pick(this.#book.accounts) as Account;
    switch (operation) {
      case 'health':
        return this.#askHealth();
      case 'visit':
        return this.#visits.step();
      case "check of others' tokens": {
        const entry = this.#foreign.pick();
        return entry === undefined ? Promise.resolve() : this.#foreign.check(operation, entry);
      }
      case 'check':
      case 'touch':
      case 'refresh':
        return this.#own.look(operation, account);
      case 'list':
        return this.#own.list(account);
      case 'rotate':
        return this.#own.rotate(account);
      case 'reuse':
        return this.#own.reuse();
      case 'data set':
      case 'data increment':
      case 'data read':
        return this.#data.step(operation, account);
      default:
        return account.isBusy ? this.#own.look('check', account) : this.#own.write(operation, account);
    }
  }

  async #askHealth(): Promise<void> {
    await this.#calls.make('health', null, () => this.#manager.health());
  }
}

function pickOperation(): MixedOperation {
  let left = Math.random() * TOTAL_WEIGHT;
  for (const [operation, weight] of MIX) {
    left -= weight;
    if (left < 0) return operation;
  }
  return 'check';
}

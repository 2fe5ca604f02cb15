import { setImmediate as nextTurn } from 'node:timers/promises';
import { SessionError, type TokenManager } from 'tokensession';
import { type Account, addRecall, Book, type Foreign, type ForeignEntry, type Page, type Sighting } from './book';
import { machineNow } from './clock';
import { COUNTER, compareCounter, compareData, valueFor } from './data-entry';
import { idOf } from './keys';
import type { DealtToken, FoundReuse, News } from './messages';
import { count, type Operation, type Tally } from './tally';
import { Vigil } from './vigil';
import { type VisitEntry, Visits } from './visits';
import type { Waits } from './waits';

/** The weight of each operation. Logins and ends balance at about three sessions a user. */
const MIX: readonly (readonly [operation: Operation, weight: number])[] = [
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
];
const TOTAL_WEIGHT = MIX.reduce((sum, [, weight]) => sum + weight, 0);

const TICK_MS = 10;
/** Logins whose answers arrive while the event loop is blocked. */
const BLOCKED_LOGINS = 10;
/** With a near cache, checks of watched sessions a tick: each about 15 times a second. */
const WATCH_LOOKS = 5;
/** A user with more sessions is kicked instead of logged in: the manager's own limit is not tested here. */
const MAX_OPEN = 12;
/** The number of ended sessions that are checked: the latest, which a mistake would revive first. */
const RECENT = 5;
/** How often a user without service is tried again, to learn when it returns. */
const RETRY_SHARE = 0.25;
/** Logins that name an older session of the same user, which they replace. */
const REPLACE_SHARE = 0.2;
const UNKNOWN_SHARE = 0.3;
/**
 * The shares of rotations by a re-authentication, of rotations whose response is lost, and of checks that change to a
 * child token.
 */
const PROOF_SHARE = 0.2;
const LOST_SHARE = 0.3;
const GO_ON_SHARE = 0.7;
/** Logouts by a former token. */
const FORMER_SHARE = 0.3;
/** The time after the grace until a former token is used, since the grace is measured by the clock of Redis. */
const REUSE_MARGIN_MS = 500;
/** If its news is older after a suspension, a worker does not use others' tokens: their grace may be over. */
const OLD_NEWS_MS = 1000;
/** How far back this process's drift counts for a near-cache answer. */
const DRIFT_MS = 1000;
/** Of others' tokens: the newest logins, and the latest ends. */
const FOREIGN_RECENT = 100;
/** Of others' tokens: those whose sightings are kept. */
const MAX_FOREIGN = 20_000;
const MAX_NOTES = 100;

type FoundSession = Awaited<ReturnType<TokenManager['checkToken']>>;
type Outcome<Reply> =
  | { ok: true; reply: Reply; sighting: Sighting; begun: number; isRecalled: boolean }
  | { ok: false; isEnded: boolean; begun: number };

/** A steady stream of calls, and a book of their promises. */
export class Load {
  readonly book: Book;
  readonly tally: Tally = {};
  readonly mixUps: string[] = [];
  readonly unexpected: string[] = [];
  readonly reuses: FoundReuse[] = [];
  readonly #manager: TokenManager;
  readonly #waits: Waits;
  readonly #isDurable: boolean;
  readonly #graceMs: number;
  /** `null` without a near cache. */
  readonly #vigil: Vigil | null;
  readonly #visits: Visits;
  readonly #operationsPerTick: number;
  readonly #onLogin: (token: DealtToken) => void;
  readonly #onRotation: (token: string) => void;
  readonly #onEnd: (token: string) => void;
  /** By the ids of their sessions. */
  readonly #foreign = new Map<string, Foreign>();
  #foreignRecent: Foreign[] = [];
  #foreignEnded: Foreign[] = [];
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #owed = 0;
  #logins = 0;
  #underWay = 0;
  /** When the newest news that this worker has read was sent. */
  #newsAt = 0;

  constructor(options: {
    manager: TokenManager;
    waits: Waits;
    userIds: readonly string[];
    isDurable: boolean;
    isCached: boolean;
    graceMs: number;
    operationsPerSecond: number;
    onLogin: (token: DealtToken) => void;
    onRotation: (token: string) => void;
    onEnd: (token: string) => void;
  }) {
    this.book = new Book(options.userIds);
    this.#manager = options.manager;
    this.#waits = options.waits;
    this.#isDurable = options.isDurable;
    this.#graceMs = options.graceMs;
    this.#vigil = options.isCached ? this.#keepVigil() : null;
    this.#operationsPerTick = (options.operationsPerSecond * TICK_MS) / 1000;
    this.#onLogin = options.onLogin;
    this.#onRotation = options.onRotation;
    this.#onEnd = options.onEnd;
    this.#visits = this.#receiveVisits();
    this.#manager.on('reused', ({ sessionId }) => this.reuses.push({ sessionId, at: machineNow() }));
  }

  get foreign(): ForeignEntry[] {
    return [...this.#foreign.values()].map(({ askedAt: _askedAt, ...entry }) => entry);
  }

  get visits(): VisitEntry[] {
    return this.#visits.entries.map(
      ({ name, token, began, used, fate, login, seenDead, seenAlive, outlived, data }): VisitEntry => {
        return { name, token, began, used, fate, login, seenDead, seenAlive, outlived, data };
      },
    );
  }

  start(): void {
    this.#due = performance.now() + TICK_MS;
    this.#timer = setTimeout(this.#tick, TICK_MS);
  }

  /** Stops, and waits for the calls in flight. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#underWay > 0) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }

  /** Blocks the event loop after logins were sent: their replies arrive in the meantime, and count. */
  async block(ms: number): Promise<void> {
    const idle = this.book.accounts.filter(({ isBusy, open }) => !isBusy && open.length < MAX_OPEN);
    const logins = idle.slice(0, BLOCKED_LOGINS).map(async (account) => {
      const { failedLogins } = account;
      await this.#step(() => this.#asOnlyWriter(account, () => this.#login(account)));
      if (account.failedLogins > failedLogins)
        this.#note(this.unexpected, 'login: answered while its process was blocked, and reported as failed');
    });
    await nextTurn();
    for (const until = performance.now() + ms; performance.now() < until; );
    await Promise.all(logins);
  }

  /** Tokens of other processes' users, to check from now on. */
  take({ at, loggedIn, rotated, ended }: News): void {
    this.#newsAt = Math.max(this.#newsAt, at);
    for (const [token, userId] of loggedIn) {
      const id = idOf(token);
      const entry = { id, token, userId, seenDead: null, lastSeenAlive: null, recalls: [], askedAt: 0 };
      this.#foreign.set(id, entry);
      this.#foreignRecent.push(entry);
    }
    for (const token of rotated) {
      const entry = this.#foreign.get(idOf(token));
      if (entry !== undefined) entry.token = token;
    }
    for (const id of this.#foreign.keys()) {
      if (this.#foreign.size <= MAX_FOREIGN) break;
      this.#foreign.delete(id);
    }
    this.#foreignEnded.push(...ended.flatMap((token) => this.#foreign.get(idOf(token)) ?? []));
    this.#foreignRecent = this.#foreignRecent.slice(-FOREIGN_RECENT);
    this.#foreignEnded = this.#foreignEnded.slice(-FOREIGN_RECENT);
  }

  readonly #tick = () => {
    const now = performance.now();
    this.#waits.tick(Math.max(0, now - this.#due));
    // Ticks missed while this process was suspended are skipped: they would make a burst.
    this.#due = Math.max(now, this.#due) + TICK_MS;
    this.#timer = setTimeout(this.#tick, this.#due - now);
    for (this.#owed += this.#operationsPerTick; this.#owed >= 1; this.#owed--) {
      void this.#step(() => this.#operate(Math.random() < RETRY_SHARE ? pick([...this.book.failing]) : undefined));
    }
    for (let i = 0; this.#vigil !== null && i < WATCH_LOOKS; i++) {
      const watched = this.#vigil.next();
      if (watched === null) continue;
      void this.#step(() =>
        watched.account === null
          ? this.#checkForeign('watch', watched.entry)
          : this.#lookAt('watch', watched.account, watched.page),
      );
    }
  };

  #receiveVisits(): Visits {
    return new Visits({
      manager: this.#manager,
      book: this.book,
      call: async (operation, work) => {
        const outcome = await this.#call(operation, null, work);
        return outcome.ok ? outcome : null;
      },
      asOnlyWriter: (account, write) => this.#asOnlyWriter(account, write),
      nextName: ({ id }) => `${id}#${++this.#logins}`,
      onLogin: (token, { id }) => this.#onLogin([token, id]),
      mixUp: (note) => this.#note(this.mixUps, note),
    });
  }

  #keepVigil(): Vigil {
    const foreign = () => {
      const entry = pick(this.#foreignRecent.filter(({ seenDead }) => seenDead === null));
      return entry === undefined ? null : { account: null, entry };
    };
    const own = () => {
      const account = pick(this.book.accounts) as Account;
      const page = pick(live(account));
      return page === undefined ? null : { account, page };
    };
    return new Vigil(foreign, own);
  }

  async #step(work: () => Promise<void>): Promise<void> {
    this.#underWay++;
    try {
      await work();
    } catch (error) {
      // A fault of the soak itself: every call of the manager is caught.
      this.#note(this.unexpected, `in the soak itself: ${describe(error)}`);
    } finally {
      this.#underWay--;
    }
  }

  #operate(failing: Account | undefined): Promise<void> {
    const account = failing ?? (pick(this.book.accounts) as Account);
    const operation = failing === undefined ? pickOperation() : 'check';
    if (operation === 'health') return this.#health();
    if (operation === 'visit') return this.#visits.step();
    if (operation === "check of others' tokens") {
      const entry = pick(Math.random() < 0.5 ? this.#foreignRecent : this.#foreignEnded);
      return entry === undefined ? Promise.resolve() : this.#checkForeign(operation, entry);
    }
    if (operation === 'check' || operation === 'touch' || operation === 'refresh')
      return this.#look(operation, account);
    if (operation === 'list') return this.#list(account);
    if (operation === 'rotate') return this.#rotate(account);
    if (operation === 'reuse') return this.#reuse();
    if (operation === 'data set' || operation === 'data increment' || operation === 'data read')
      return this.#useData(operation, account);
    if (account.isBusy) return this.#look('check', account);
    return this.#write(operation, account);
  }

  #write(operation: Operation, account: Account): Promise<void> {
    return this.#asOnlyWriter(account, async () => {
      if (operation === 'kick all' || account.open.length >= MAX_OPEN) await this.#kickAll(account);
      else if (operation === 'login' || account.open.length === 0) await this.#login(account);
      else if (operation === 'kick others') await this.#kickOthers(account);
      else await this.#end(operation === 'logout' ? 'logout' : 'kick one', account);
    });
  }

  async #asOnlyWriter(account: Account, write: () => Promise<void>): Promise<void> {
    account.isBusy = true;
    account.version++;
    try {
      await write();
    } finally {
      account.isBusy = false;
    }
  }

  async #login(account: Account): Promise<void> {
    const device = `${account.id}#${++this.#logins}`;
    const begun = machineNow();
    const replaced = Math.random() < REPLACE_SHARE ? pick(live(account)) : undefined;
    if (replaced !== undefined) this.book.ending(replaced);
    const outcome = await this.#call('login', account, async () => {
      if (replaced === undefined) return this.#manager.setToken(account.id, undefined, { device });
      const session = await this.#manager.createSession(account.id, {
        attributes: { device },
        replaces: [replaced.token],
      });
      return session.token;
    });
    if (replaced !== undefined) this.#endSettled(account, [replaced]);
    if (!outcome.ok) {
      account.failedLogins++;
      return;
    }
    this.book.loggedIn(account, outcome.reply, device, begun);
    // A replacement is repeated after a failover, but never confirmed by replicas.
    if (replaced !== undefined) this.#ended(account, replaced, outcome.begun, false);
    this.#onLogin([outcome.reply, account.id]);
  }

  async #end(operation: 'logout' | 'kick one', account: Account): Promise<void> {
    const candidates = Math.random() < UNKNOWN_SHARE ? account.open : live(account);
    const page = pick(candidates) ?? (pick(account.open) as Page);
    const before = this.book.snapshot(page);
    this.book.ending(page);
    const outcome = await this.#call(operation, account, () =>
      operation === 'logout'
        ? this.#manager.deleteToken(tokenToEndBy(page))
        : this.#manager.deleteSession(account.id, page.id),
    );
    // It was dead, though no call had ended it.
    if (outcome.ok && !outcome.reply && before.fate === 'live') page.seenDead ??= outcome.sighting;
    this.#settle(account, [page], outcome);
  }

  /** Rotates a token, for the client to use at a later check; of several children the last. */
  async #rotate(account: Account): Promise<void> {
    const page = pick(live(account));
    if (page === undefined) return;
    const { token } = page;
    const outcome = await this.#call('rotate', account, async () => {
      if (Math.random() >= PROOF_SHARE) return this.#manager.rotateToken(token);
      return (await this.#manager.reauthenticateToken(token))?.token ?? null;
    });
    if (!outcome.ok || outcome.reply === null || Math.random() < LOST_SHARE) return;
    if (page.token === token) page.child = outcome.reply;
  }

  /** Uses a former token of a session after its grace, which ends the session. */
  async #reuse(): Promise<void> {
    const isOver = ({ firstUse }: Page) =>
      firstUse !== null && machineNow() - firstUse.settled > this.#graceMs + REUSE_MARGIN_MS;
    const idle = this.book.accounts.filter(({ isBusy }) => !isBusy);
    const candidates = idle.flatMap((account) =>
      live(account)
        .filter(isOver)
        .map((page) => ({ account, page })),
    );
    const candidate = pick(candidates);
    if (candidate === undefined) return;
    const { account, page } = candidate;
    await this.#asOnlyWriter(account, async () => {
      const use = page.firstUse as Sighting;
      this.book.ending(page);
      page.reuseBegunAt ??= machineNow();
      const outcome = await this.#call('reuse', account, (mark) => this.#read('touch', page.former as string, mark));
      // A failed request has ended nothing that its process knows of.
      if (!outcome.ok) return;
      if (outcome.reply === null) {
        this.#endSettled(account, [page]);
        this.#ended(account, page, outcome.begun, false);
      } else if (!outcome.isRecalled) page.missedReuse ??= { use, seenAt: outcome.sighting.settled };
    });
  }

  async #kickAll(account: Account): Promise<void> {
    const pages = [...account.open];
    for (const page of pages) this.book.ending(page);
    const begun = Date.now();
    const outcome = await this.#call('kick all', account, () => this.#manager.deleteUserToken(account.id));
    if (outcome.ok || outcome.isEnded) account.kickedAllAt = begun;
    this.#settle(account, pages, outcome);
  }

  async #kickOthers(account: Account): Promise<void> {
    const kept = pick(live(account));
    const except = kept && (Math.random() < 0.5 ? kept.token : kept.id);
    const pages = account.open.filter((page) => page !== kept);
    for (const page of pages) this.book.ending(page);
    const outcome = await this.#call('kick others', account, () =>
      this.#manager.deleteUserToken(account.id, except === undefined ? undefined : { except }),
    );
    this.#settle(account, pages, outcome);
  }

  /**
   * Records what a call has ended. An end that replicas have not confirmed is an end, too, and is repeated after a
   * failover.
   */
  #settle(account: Account, pages: readonly Page[], outcome: Outcome<unknown>): void {
    this.#endSettled(account, pages);
    if (!outcome.ok && !outcome.isEnded) return;
    for (const page of pages) this.#ended(account, page, outcome.begun, outcome.ok && this.#isDurable);
  }

  #ended(account: Account, page: Page, callBegunAt: number, isConfirmed: boolean): void {
    this.book.ended(account, page, callBegunAt, isConfirmed);
    this.#onEnd(page.token);
  }

  /** A call to end these has settled: from now on the near cache must not answer for them. */
  #endSettled(account: Account, pages: readonly Page[]): void {
    for (const page of pages) this.book.endSettled(page);
    if (this.#vigil === null) return;
    // After the caller has recorded the ends, and before data can arrive from Redis.
    queueMicrotask(() => {
      for (const page of pages) void this.#step(() => this.#lookAt('watch', account, page));
    });
  }

  async #look(operation: 'check' | 'touch' | 'refresh', account: Account): Promise<void> {
    const page = pickPage(account);
    if (page === undefined) return account.isBusy ? undefined : this.#write('login', account);
    return this.#lookAt(operation, account, page);
  }

  async #lookAt(operation: 'check' | 'touch' | 'refresh' | 'watch', account: Account, page: Page): Promise<void> {
    if (page.child !== null && page.fate === 'live' && Math.random() < GO_ON_SHARE) {
      this.book.goesOn(page, page.child);
      this.#onRotation(page.token);
    }
    const { token } = page;
    const before = this.book.snapshot(page);
    const outcome = await this.#call(operation, account, async (mark) => {
      if (operation === 'refresh') return this.#manager.refreshToken(token);
      const session = await this.#read(operation === 'touch' ? 'touch' : 'check', token, mark);
      if (session !== null) this.#verify(session, token, page.userId, page.device);
      return session !== null;
    });
    if (!outcome.ok) return;
    const { begun } = outcome.sighting;
    if (outcome.isRecalled) return this.book.recalled(page, begun);
    if (outcome.reply && (operation === 'touch' || operation === 'refresh'))
      this.book.used(page, token, outcome.sighting);
    this.book.observed(page, before, outcome.reply, outcome.sighting);
    // The result of a refresh is not cached.
    if (outcome.reply && operation !== 'refresh') page.askedAt = Math.max(page.askedAt, begun);
  }

  /** Checks a token, and records a near-cache answer before it waits for anything. */
  #read(operation: 'check' | 'touch', token: string, mark: { isRecalled: boolean }): Promise<FoundSession> {
    const hits = this.#manager.cacheStats?.hits;
    const session = operation === 'check' ? this.#manager.checkToken(token) : this.#manager.touchToken(token);
    mark.isRecalled = this.#manager.cacheStats?.hits !== hits;
    return session;
  }

  async #list(account: Account): Promise<void> {
    const pages = [...account.open, ...account.ended.slice(-RECENT)].map((page) => ({
      page,
      before: this.book.snapshot(page),
    }));
    const { version, isBusy, failedLogins } = account;
    const outcome = await this.#call('list', account, () => this.#manager.listUserToken(account.id));
    if (!outcome.ok) return;
    const listed = new Map(outcome.reply.map((token) => [idOf(token), token]));
    for (const { page, before } of pages) {
      const token = listed.get(page.id);
      this.book.observed(page, before, token !== undefined, outcome.sighting);
      if (token !== undefined) this.book.listed(page, before, token, outcome.sighting);
    }
    if (isBusy || account.version !== version) return;
    const known = new Set([...account.open, ...account.ended].map(({ id }) => id));
    const strangers = [...listed.keys()].filter((id) => !known.has(id));
    if (strangers.length > failedLogins) {
      this.#note(this.mixUps, `${account.id} has ${strangers.length} sessions that it didn't start`);
    }
  }

  async #useData(operation: 'data set' | 'data increment' | 'data read', account: Account): Promise<void> {
    const page = pickPage(account);
    if (page === undefined || page.isDataBusy) return;
    page.isDataBusy = true;
    const use = operation === 'data read' ? this.#readData(account, page) : this.#writeData(operation, account, page);
    await use.finally(() => {
      page.isDataBusy = false;
    });
  }

  async #writeData(operation: 'data set' | 'data increment', account: Account, page: Page): Promise<void> {
    const { data, device } = page;
    const before = this.book.snapshot(page);
    const written = this.#manager.sessionData(page.token);
    const key = `key ${Object.keys(data.set).length}`;
    if (operation === 'data set') data.set[key] = null;
    else data.tried++;
    const outcome = await this.#call(operation, account, async () => {
      try {
        if (operation === 'data increment') return await written.increment(COUNTER);
        await written.set(key, valueFor(device, key));
        return 0;
      } catch (error) {
        if (error instanceof SessionError && error.code === 'ERR_NO_SESSION') return null;
        throw error;
      }
    });
    if (!outcome.ok) return;
    const { reply, sighting } = outcome;
    this.book.observed(page, before, reply !== null, sighting);
    if (reply === null || !this.book.isStillLive(page, before)) return;
    data.written++;
    if (operation === 'data set') data.set[key] = sighting;
    else {
      data.added.push(sighting);
      for (const strange of compareCounter(data, device, reply, sighting.settled)) this.#note(this.mixUps, strange);
    }
  }

  async #readData(account: Account, page: Page): Promise<void> {
    const { data, device, token } = page;
    const before = this.book.snapshot(page);
    const outcome = await this.#call('data read', account, () => this.#manager.sessionData(token).getAll());
    if (!outcome.ok) return;
    const { reply, sighting } = outcome;
    if (Object.keys(reply).length > 0) this.book.observed(page, before, true, sighting);
    else {
      // An ended session has no data, either.
      if (data.written === 0 || !this.book.isStillLive(page, before)) return;
      const refreshed = await this.#call('refresh', account, () => this.#manager.refreshToken(token));
      if (!refreshed.ok) return;
      this.book.observed(page, before, refreshed.reply, refreshed.sighting);
      if (!refreshed.reply) return;
    }
    if (!this.book.isStillLive(page, before)) return;
    for (const strange of compareData(data, device, reply, sighting.settled)) this.#note(this.mixUps, strange);
  }

  async #checkForeign(operation: "check of others' tokens" | 'watch', entry: Foreign): Promise<void> {
    if (machineNow() - this.#newsAt > OLD_NEWS_MS) return;
    const { token, userId } = entry;
    const outcome = await this.#call(operation, null, async (mark) => {
      const session = await this.#read('check', token, mark);
      if (session !== null) this.#verify(session, token, userId, null);
      return session !== null;
    });
    if (!outcome.ok) return;
    const { begun } = outcome.sighting;
    if (outcome.isRecalled) {
      const driftMs = this.#waits.driftSince(performance.now() - DRIFT_MS);
      addRecall(entry.recalls, { at: begun, askedAt: entry.askedAt, driftMs });
    } else if (outcome.reply) {
      entry.lastSeenAlive = outcome.sighting;
      entry.askedAt = Math.max(entry.askedAt, begun);
    } else entry.seenDead ??= outcome.sighting;
  }

  async #health(): Promise<void> {
    await this.#call('health', null, () => this.#manager.health());
  }

  #verify(session: NonNullable<FoundSession>, token: string, userId: string, device: string | null): void {
    const loggedIn = session.attributes.device ?? '';
    const isTheirs =
      session.user.id === userId &&
      session.token === token &&
      session.id === idOf(token) &&
      (device === null ? loggedIn.startsWith(`${userId}#`) : loggedIn === device);
    if (isTheirs) return;
    this.#note(
      this.mixUps,
      `asked for ${device ?? userId}, got ${session.user.id} (${loggedIn}, session ${session.id})`,
    );
  }

  /**
   * Makes a call, and records its wait and its result. `null` if it says nothing about the service for our own users.
   */
  async #call<Reply>(
    operation: Operation,
    account: Account | null,
    call: (mark: { isRecalled: boolean }) => Promise<Reply>,
  ): Promise<Outcome<Reply>> {
    const mark = { isRecalled: false };
    const begun = machineNow();
    const start = performance.now();
    try {
      const reply = await call(mark);
      this.#waits.ended(operation, start);
      count(this.tally, operation, 'done');
      // A near-cache answer says nothing about the servers.
      if (account !== null && !mark.isRecalled) this.book.served(account, begun);
      return { ok: true, reply, sighting: { begun, settled: machineNow() }, begun, ...mark };
    } catch (error) {
      this.#waits.ended(operation, start);
      const code = error instanceof SessionError && error.status === 503 ? error.code : 'unexpected';
      count(this.tally, operation, code);
      if (code === 'unexpected') this.#note(this.unexpected, `${operation}: ${describe(error)}`);
      const isEnded = code === 'ERR_NOT_REPLICATED';
      if (account !== null) {
        if (isEnded) this.book.served(account, begun);
        else this.book.failed(account, begun);
      }
      return { ok: false, isEnded, begun };
    }
  }

  #note(notes: string[], note: string): void {
    if (notes.length < MAX_NOTES) notes.push(note);
  }
}

function pick<Item>(items: readonly Item[]): Item | undefined {
  return items[Math.floor(Math.random() * items.length)];
}

function pickOperation(): Operation {
  let left = Math.random() * TOTAL_WEIGHT;
  for (const [operation, weight] of MIX) {
    left -= weight;
    if (left < 0) return operation;
  }
  return 'check';
}

/** Mostly a session that should be live, often one that has just ended, sometimes one that ended long ago. */
function pickPage({ open, ended }: Account): Page | undefined {
  const chance = Math.random();
  if (chance < 0.6 || ended.length === 0) return pick(open) ?? pick(ended);
  return chance < 0.9 ? pick(ended.slice(-RECENT)) : pick(ended);
}

function live({ open }: Account): Page[] {
  return open.filter(({ fate }) => fate === 'live');
}

/** A session ends by any of its tokens. */
function tokenToEndBy({ token, former, child }: Page): string {
  return (Math.random() < FORMER_SHARE ? (pick([former, child]) ?? token) : token) ?? token;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

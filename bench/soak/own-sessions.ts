import type { TokenManager } from 'tokensession';
import { idOf } from '../../test/support/session-id';
import { monotonicMs } from '../monotonic';
import type { Account, Book, Page } from './book';
import type { Calls, Outcome } from './calls';
import type { Announce } from './news';
import { liveOf, pick, pickPage, RECENT } from './picks';
import type { Sighting } from './sighting';

/** A user with more sessions is kicked instead of logged in: the manager's own limit is not tested here. */
export const MAX_OPEN = 12;
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

interface Settings {
  manager: TokenManager;
  book: Book;
  calls: Calls;
  announce: Announce;
  /** Whether replicas confirm each end. */
  isDurable: boolean;
  /** Milliseconds for which a former token stays valid. */
  graceMs: number;
  /** Called once calls to end these sessions have settled: from now on the near cache must not answer for them. */
  onEndSettled: (account: Account, pages: readonly Page[]) => void;
}

/** Starts, uses and ends the sessions of this worker's users, and keeps the book. */
export class OwnSessions {
  readonly #settings: Settings;
  readonly #manager: TokenManager;
  readonly #book: Book;
  readonly #calls: Calls;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#manager = settings.manager;
    this.#book = settings.book;
    this.#calls = settings.calls;
  }

  /** A call that may start or end sessions of a user; no other one is in flight. */
  write(operation: 'login' | 'logout' | 'kick one' | 'kick others' | 'kick all', account: Account): Promise<void> {
    return this.#book.asOnlyWriter(account, async () => {
      if (operation === 'kick all' || account.open.length >= MAX_OPEN) await this.#kickAll(account);
      else if (operation === 'login' || account.open.length === 0) await this.#login(account);
      else if (operation === 'kick others') await this.#kickOthers(account);
      else await this.#end(operation, account);
    });
  }

  async #login(account: Account): Promise<void> {
    const device = this.#book.nextDevice(account);
    const begun = monotonicMs();
    const replaced = Math.random() < REPLACE_SHARE ? pick(liveOf(account)) : undefined;
    if (replaced !== undefined) this.#book.ending(replaced);
    const outcome = await this.#calls.make('login', account, async () => {
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
    this.#book.loggedIn(account, outcome.reply, device, begun);
    // A replacement is repeated after a failover, but never confirmed by replicas.
    if (replaced !== undefined) this.#ended(account, replaced, outcome.begun, false);
    this.#settings.announce.loggedIn([outcome.reply, account.id]);
  }

  async #end(operation: 'logout' | 'kick one', account: Account): Promise<void> {
    const candidates = Math.random() < UNKNOWN_SHARE ? account.open : liveOf(account);
    const page = pick(candidates) ?? (pick(account.open) as Page);
    const before = this.#book.snapshot(page);
    this.#book.ending(page);
    const outcome = await this.#calls.make(operation, account, () =>
      operation === 'logout'
        ? this.#manager.deleteToken(tokenToEndBy(page))
        : this.#manager.deleteSession(account.id, page.id),
    );
    // It was dead, though no call had ended it.
    if (outcome.ok && !outcome.reply && before.fate === 'live') page.seenDead ??= outcome.sighting;
    this.#settle(account, [page], outcome);
  }

  async #kickAll(account: Account): Promise<void> {
    const pages = [...account.open];
    for (const page of pages) this.#book.ending(page);
    const begun = Date.now();
    const outcome = await this.#calls.make('kick all', account, () => this.#manager.deleteUserToken(account.id));
    if (outcome.ok || outcome.isEnded) account.kickedAllAt = begun;
    this.#settle(account, pages, outcome);
  }

  async #kickOthers(account: Account): Promise<void> {
    const kept = pick(liveOf(account));
    const except = kept && (Math.random() < 0.5 ? kept.token : kept.id);
    const pages = account.open.filter((page) => page !== kept);
    for (const page of pages) this.#book.ending(page);
    const outcome = await this.#calls.make('kick others', account, () =>
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
    for (const page of pages) this.#ended(account, page, outcome.begun, outcome.ok && this.#settings.isDurable);
  }

  #endSettled(account: Account, pages: readonly Page[]): void {
    for (const page of pages) this.#book.endSettled(page);
    this.#settings.onEndSettled(account, pages);
  }

  #ended(account: Account, page: Page, callBegunAt: number, isConfirmed: boolean): void {
    this.#book.ended(account, page, callBegunAt, isConfirmed);
    this.#settings.announce.ended(page.token);
  }

  /** Rotates a token, for the client to use at a later check; of several children the last. */
  async rotate(account: Account): Promise<void> {
    const page = pick(liveOf(account));
    if (page === undefined) return;
    const { token } = page;
    const outcome = await this.#calls.make('rotate', account, async () => {
      if (Math.random() >= PROOF_SHARE) return this.#manager.rotateToken(token);
      return (await this.#manager.reauthenticateToken(token))?.token ?? null;
    });
    if (!outcome.ok || outcome.reply === null || Math.random() < LOST_SHARE) return;
    if (page.token === token) page.child = outcome.reply;
  }

  /** Uses a former token of a session after its grace, which ends the session. */
  async reuse(): Promise<void> {
    const isOver = ({ firstUse }: Page) =>
      firstUse !== null && monotonicMs() - firstUse.settled > this.#settings.graceMs + REUSE_MARGIN_MS;
    const idle = this.#book.accounts.filter(({ isBusy }) => !isBusy);
    const candidates = idle.flatMap((account) =>
      liveOf(account)
        .filter(isOver)
        .map((page) => ({ account, page })),
    );
    const candidate = pick(candidates);
    if (candidate === undefined) return;
    const { account, page } = candidate;
    await this.#book.asOnlyWriter(account, async () => {
      const use = page.firstUse as Sighting;
      this.#book.ending(page);
      page.reuseBegunAt ??= monotonicMs();
      const outcome = await this.#calls.make('reuse', account, (mark) =>
        this.#calls.read('touch', page.former as string, mark),
      );
      // A failed request has ended nothing that its process knows of.
      if (!outcome.ok) return;
      if (outcome.reply === null) {
        this.#endSettled(account, [page]);
        this.#ended(account, page, outcome.begun, false);
      } else if (!outcome.isRecalled) page.missedReuse ??= { use, seenAt: outcome.sighting.settled };
    });
  }

  async look(operation: 'check' | 'touch' | 'refresh', account: Account): Promise<void> {
    const page = pickPage(account);
    if (page === undefined) return account.isBusy ? undefined : this.write('login', account);
    return this.lookAt(operation, account, page);
  }

  async lookAt(operation: 'check' | 'touch' | 'refresh' | 'watch', account: Account, page: Page): Promise<void> {
    if (page.child !== null && page.fate === 'live' && Math.random() < GO_ON_SHARE) {
      this.#book.goesOn(page, page.child);
      this.#settings.announce.rotated(page.token);
    }
    const { token } = page;
    const before = this.#book.snapshot(page);
    const outcome = await this.#calls.make(operation, account, async (mark) => {
      if (operation === 'refresh') return this.#manager.refreshToken(token);
      const session = await this.#calls.read(operation === 'touch' ? 'touch' : 'check', token, mark);
      if (session !== null) this.#calls.verify(session, token, page.userId, page.device);
      return session !== null;
    });
    if (!outcome.ok) return;
    const { begun } = outcome.sighting;
    if (outcome.isRecalled) return this.#book.recalled(page, begun);
    if (outcome.reply && (operation === 'touch' || operation === 'refresh'))
      this.#book.used(page, token, outcome.sighting);
    this.#book.observed(page, before, outcome.reply, outcome.sighting);
    // The result of a refresh is not cached.
    if (outcome.reply && operation !== 'refresh') page.askedAt = Math.max(page.askedAt, begun);
  }

  async list(account: Account): Promise<void> {
    const pages = [...account.open, ...account.ended.slice(-RECENT)].map((page) => ({
      page,
      before: this.#book.snapshot(page),
    }));
    const { version, isBusy, failedLogins } = account;
    const outcome = await this.#calls.make('list', account, () => this.#manager.listUserToken(account.id));
    if (!outcome.ok) return;
    const listed = new Map(outcome.reply.map((token) => [idOf(token), token]));
    for (const { page, before } of pages) {
      const token = listed.get(page.id);
      this.#book.observed(page, before, token !== undefined, outcome.sighting);
      if (token !== undefined) this.#book.listed(page, before, token, outcome.sighting);
    }
    if (isBusy || account.version !== version) return;
    const known = new Set([...account.open, ...account.ended].map(({ id }) => id));
    const strangers = [...listed.keys()].filter((id) => !known.has(id));
    if (strangers.length > failedLogins) {
      this.#calls.mixedUp(`${account.id} has ${strangers.length} sessions that it didn't start`);
    }
  }
}

/** A session ends by any of its tokens. */
function tokenToEndBy({ token, former, child }: Page): string {
  const other = Math.random() < FORMER_SHARE ? pick([former, child]) : null;
  return other ?? token;
}

import { SessionError, type TokenManager } from 'tokensession';
import type { Account, Book, Page } from './book';
import type { Calls } from './calls';
import { COUNTER, compareCounter, compareData, valueFor } from './data-entry';
import { pickPage } from './picks';

/** Writes and reads the data of this worker's sessions, one call a session at a time. */
export class DataUse {
  readonly #manager: TokenManager;
  readonly #book: Book;
  readonly #calls: Calls;

  constructor(manager: TokenManager, book: Book, calls: Calls) {
    this.#manager = manager;
    this.#book = book;
    this.#calls = calls;
  }

  async step(operation: 'data set' | 'data increment' | 'data read', account: Account): Promise<void> {
    const page = pickPage(account);
    if (page === undefined || page.isDataBusy) return;
    page.isDataBusy = true;
    const use = operation === 'data read' ? this.#read(account, page) : this.#write(operation, account, page);
    await use.finally(() => {
      page.isDataBusy = false;
    });
  }

  async #write(operation: 'data set' | 'data increment', account: Account, page: Page): Promise<void> {
    const { data, device } = page;
    const before = this.#book.snapshot(page);
    const written = this.#manager.sessionData(page.token);
    const key = `key ${Object.keys(data.set).length}`;
    if (operation === 'data set') data.set[key] = null;
    else data.tried++;
    const outcome = await this.#calls.make(operation, account, async () => {
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
    this.#book.observed(page, before, reply !== null, sighting);
    if (reply === null || !this.#book.isStillLive(page, before)) return;
    data.written++;
    if (operation === 'data set') data.set[key] = sighting;
    else {
      data.added.push(sighting);
      for (const strange of compareCounter(data, device, reply, sighting.settled)) this.#calls.mixedUp(strange);
    }
  }

  async #read(account: Account, page: Page): Promise<void> {
    const { data, device, token } = page;
    const before = this.#book.snapshot(page);
    const outcome = await this.#calls.make('data read', account, () => this.#manager.sessionData(token).getAll());
    if (!outcome.ok) return;
    const { reply, sighting } = outcome;
    if (Object.keys(reply).length > 0) this.#book.observed(page, before, true, sighting);
    else {
      // An ended session has no data, either.
      if (data.written === 0 || !this.#book.isStillLive(page, before)) return;
      const refreshed = await this.#calls.make('refresh', account, () => this.#manager.refreshToken(token));
      if (!refreshed.ok) return;
      this.#book.observed(page, before, refreshed.reply, refreshed.sighting);
      if (!refreshed.reply) return;
    }
    if (!this.#book.isStillLive(page, before)) return;
    for (const strange of compareData(data, device, reply, sighting.settled)) this.#calls.mixedUp(strange);
  }
}

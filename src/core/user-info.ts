import { SessionError } from './errors';
import type { Store } from './store';
import { tagOf } from './token';
import type { GetUserInfo } from './types';

/** One run of the application's loader, shared by all who ask for this user meanwhile. */
interface Load<Detail> {
  /** What the loader gave, as the cache will give it back; `null` when there is no such user. */
  detail: Promise<Detail | null>;
  /** Settles when the store has taken it. */
  stored: Promise<void>;
}

/**
 * Loads user info through the application's loader, at most once at a time for each user in this process, and keeps it in the store.
 * A user whom the loader doesn't know loses their sessions.
 */
export class UserInfo<Detail> {
  readonly #store: Store;
  readonly #getUserInfo: GetUserInfo<Detail> | undefined;
  readonly #loads = new Map<string, Load<Detail>>();

  constructor(store: Store, getUserInfo: GetUserInfo<Detail> | undefined) {
    this.#store = store;
    this.#getUserInfo = getUserInfo;
  }

  get hasLoader(): boolean {
    return this.#getUserInfo !== undefined;
  }

  /** The info in a cached text; `undefined` when there is none, or none that can be read: then it wants loading. */
  read(cached: string | null): Detail | undefined {
    if (cached === null) return undefined;
    try {
      return (JSON.parse(cached) as Detail | null) ?? undefined;
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** Loads, or joins a load under way. Rejects when the outcome can't be stored. */
  async load(userId: string, ttlMs: number): Promise<Detail | null> {
    const load = this.#loads.get(userId) ?? this.#start(userId, ttlMs);
    const [detail] = await Promise.all([load.detail, load.stored]);
    return detail;
  }

  /** Loads afresh: a load under way may bring what is older than the call, so that this one comes after it. */
  async reload(userId: string, ttlMs: number): Promise<Detail | null> {
    await Promise.allSettled([this.#loads.get(userId)?.stored]);
    return this.load(userId, ttlMs);
  }

  /**
   * {@link load} for a check, where info that can't be cached costs the next request a load and is no reason to fail this one.
   * That the sessions of a user who is gone can't be ended, is.
   */
  async loadForCheck(userId: string, ttlMs: number): Promise<Detail | null> {
    const load = this.#loads.get(userId) ?? this.#start(userId, ttlMs);
    const [detail, stored] = await Promise.allSettled([load.detail, load.stored]);
    if (detail.status === 'rejected') throw detail.reason;
    if (detail.value === null && stored.status === 'rejected') throw stored.reason;
    return detail.value;
  }

  /** Forgets the cached info, and what a load under way will bring. */
  forget(userId: string): Promise<boolean> {
    this.#loads.delete(userId);
    return this.#store.deleteUserInfo(tagOf(userId));
  }

  #start(userId: string, ttlMs: number): Load<Detail> {
    const loaded = this.#run(userId);
    const load: Load<Detail> = {
      detail: loaded.then(({ detail }) => detail),
      stored: loaded
        .then(({ text }) => (this.#loads.get(userId) === load ? this.#keep(userId, text, ttlMs) : undefined))
        .finally(() => {
          if (this.#loads.get(userId) === load) this.#loads.delete(userId);
        }),
    };
    this.#loads.set(userId, load);
    return load;
  }

  async #run(userId: string): Promise<{ text: string | null; detail: Detail | null }> {
    if (this.#getUserInfo === undefined) throw new TypeError('loading user info needs the option getUserInfo');
    const loaded = await this.#getUserInfo(userId);
    if (loaded === null || loaded === undefined) return { text: null, detail: null };
    const text: string | undefined = JSON.stringify(loaded);
    const detail = text === undefined ? null : (JSON.parse(text) as Detail | null);
    if (text === undefined || detail === null) {
      throw new TypeError(
        `getUserInfo must give what JSON can hold, or null for "no such user"; it gave a ${typeof loaded}`,
      );
    }
    return { text, detail };
  }

  async #keep(userId: string, text: string | null, ttlMs: number): Promise<void> {
    const tag = tagOf(userId);
    if (text === null) await this.#store.endAll(tag, { except: null, forgetUserInfo: true });
    else await this.#store.setUserInfo(tag, text, ttlMs);
  }
}

/** The answer to a login by somebody whom `getUserInfo` doesn't know. */
export function userNotFound(): SessionError {
  return new SessionError('ERR_USER_NOT_FOUND', 'getUserInfo knows no such user: no session was started');
}

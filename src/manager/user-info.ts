import { SessionError } from '../errors/session-error';
import { MAX_USER_INFO_LOAD_MS } from '../store/limits';
import { parseFrozen, type SharedUser, userOf } from '../store/shared-user';
import type { Store } from '../store/store';
import { tagOf } from '../token/token';
import { reportOutcome } from './report-outcome';
import type { GetUserInfo, ReadonlyJson, User } from './types';

/** Milliseconds after which other calls no longer join a load: a loader that hangs must not lock its user out. */
const SHARED_FOR_MS = 10_000;

/** One run of the application's loader, shared by all calls for this user meanwhile. */
interface Load<Detail> {
  /** The loader's value, after JSON; `null` when there is no such user. */
  detail: Promise<ReadonlyJson<Detail> | null>;
  /** Whether the store has stored the value. It refuses one that is older than a later change. */
  stored: Promise<boolean>;
  /** Its version; `null` until the store has given one that is beyond all others. */
  version: number | null;
  /** Whether callers may join. */
  isShared: boolean;
  /** Resolves when no caller can join any more, with the error of the load; `null` without one. */
  over: Promise<unknown>;
  /** Whether its version is beyond that of every load that has begun before it, in any process. */
  isAfresh: boolean;
}

/**
 * Loads user info through the application's loader, one load a user at a time in this process, and caches it in the
 * store. A user that the loader doesn't know loses all sessions. Each load has a version, by which the store refuses
 * loads that began before a change.
 */
export class UserInfo<Detail> {
  readonly #store: Store;
  readonly #getUserInfo: GetUserInfo<Detail> | undefined;
  readonly #onGone: (userId: string, ended: string[]) => void;
  /** The loads of each user that began since the last login or deletion, in order. */
  readonly #loads = new Map<string, Load<Detail>[]>();

  /** @param onGone gets the sessions that ended because there is no such user. */
  constructor(
    store: Store,
    getUserInfo: GetUserInfo<Detail> | undefined,
    onGone: (userId: string, ended: string[]) => void,
  ) {
    this.#store = store;
    this.#getUserInfo = getUserInfo;
    this.#onGone = onGone;
  }

  get hasLoader(): boolean {
    return this.#getUserInfo !== undefined;
  }

  checkLoader(): void {
    if (!this.hasLoader) throw new TypeError('loading user info needs the option getUserInfo');
  }

  /** The user of a session, with cached info; `null` when there is none that can be read, and it must be loaded. */
  known({ value }: SharedUser): User<Detail> | null {
    return this.hasLoader && value.detail === undefined ? null : (value as User<Detail>);
  }

  /**
   * Loads the user of a session that was just checked, or joins a load, unless the info was changed or deleted since
   * that began; `null` when there is no such user. Doesn't wait for the cache: when that can't be written, the next
   * request loads again. Rejects when the sessions of a missing user can't be ended.
   */
  async load({ id, version, loadVersion }: SharedUser, ttlMs: number): Promise<User<Detail> | null> {
    const shared = this.#shared(id);
    const isOutdated = (shared?.version ?? version) < version;
    const load = isOutdated ? undefined : shared;
    const detail = await detailOf(load ?? this.#start(id, ttlMs, loadVersion));
    return detail === null ? null : userOf(id, detail);
  }

  /**
   * Loads the current info, since an earlier load may be older than this call. Earlier loads, in any process, can't be
   * stored any more.
   */
  async loadAfresh(userId: string, ttlMs: number): Promise<ReadonlyJson<Detail> | null> {
    return detailOf(await this.#joinLater(userId, ttlMs));
  }

  /**
   * Does what {@link loadAfresh} does, and waits for the cache: rejects when it can't be written. `isCached`: whether
   * the store has accepted the info.
   *
   * @throws TypeError without a loader.
   */
  async loadAndCache(
    userId: string,
    ttlMs: number,
  ): Promise<{ detail: ReadonlyJson<Detail> | null; isCached: boolean }> {
    this.checkLoader();
    const load = await this.#joinLater(userId, ttlMs);
    const [detail, isCached] = await Promise.all([detailOf(load), load.stored]);
    return { detail, isCached };
  }

  /** Deletes the cached info, and the results of earlier loads. */
  forget(userId: string): Promise<boolean> {
    this.ignoreLoad(userId);
    return this.#store.deleteUserInfo(tagOf(userId));
  }

  /**
   * Lets no later call join the loads in this process. Where they find no such user, no session ends: one may have
   * started meanwhile.
   */
  ignoreLoad(userId: string): void {
    this.#loads.delete(userId);
  }

  /**
   * Joins a load that begins after this call: its own, or one that another such call starts after the current one. Not
   * one of a check, whose version may be earlier than that of an older load in another process.
   */
  async #joinLater(userId: string, ttlMs: number): Promise<Load<Detail>> {
    const older = this.#shared(userId);
    const error = older === undefined ? null : await older.over;
    // Another try would wait for the store a second time. After any other error it need not.
    if (error instanceof SessionError && error.code === 'ERR_STORE_TIMEOUT') throw error;
    const later = this.#shared(userId);
    return later?.isAfresh ? later : this.#start(userId, ttlMs, null);
  }

  /** The load that callers may join. */
  #shared(userId: string): Load<Detail> | undefined {
    const last = this.#loads.get(userId)?.at(-1);
    return last?.isShared ? last : undefined;
  }

  /** @param known the version of the load; `null`: the store renews it. */
  #start(userId: string, ttlMs: number, known: number | null): Load<Detail> {
    const version = known === null ? this.#store.renewUserInfo(tagOf(userId)) : Promise.resolve(known);
    const text = version.then((number) => {
      load.version = number;
      return this.#run(userId);
    });
    const stored = text.then(async (json) => {
      if (json !== null) return this.#store.setUserInfo(tagOf(userId), json, ttlMs, await version);
      if (this.#loads.get(userId)?.includes(load)) await this.#endAll(userId, await version);
      return false;
    });
    const over = settledWithin(stored, SHARED_FOR_MS).then((error) => {
      load.isShared = false;
      return error;
    });
    // The store keeps no result after that time.
    void settledWithin(stored, MAX_USER_INFO_LOAD_MS).then(() => {
      loads.splice(loads.indexOf(load), 1);
      if (loads.length === 0 && this.#loads.get(userId) === loads) this.#loads.delete(userId);
    });
    const detail = text.then((json) => (json === null ? null : (parseFrozen(json) as ReadonlyJson<Detail>)));
    const load: Load<Detail> = { detail, stored, version: known, isShared: true, over, isAfresh: known === null };
    const loads = this.#loads.get(userId) ?? [];
    loads.push(load);
    this.#loads.set(userId, loads);
    return load;
  }

  async #run(userId: string): Promise<string | null> {
    const loaded = await withError(this.#getUserInfo as GetUserInfo<Detail>, userId);
    if (loaded === null || loaded === undefined) return null;
    const text: string | undefined = JSON.stringify(loaded);
    if (text === undefined || text === 'null') {
      throw new TypeError(
        `getUserInfo must give what JSON can hold, or null for "no such user"; it gave a ${typeof loaded}`,
      );
    }
    return text;
  }

  async #endAll(userId: string, version: number): Promise<void> {
    const ending = this.#store.endAll(tagOf(userId), { except: null, message: null, goneAtVersion: version });
    await reportOutcome(ending, (ended) => this.#onGone(userId, ended));
  }
}

/**
 * Runs the loader. It may reject with nothing, as `setTimeout(reject, ms)` does, or with a word such as `'route'`:
 * frameworks would go on without the user then, and Koa would never answer.
 */
async function withError<Detail>(load: GetUserInfo<Detail>, userId: string): Promise<Detail | null | undefined> {
  try {
    return await load(userId);
  } catch (reason) {
    if (typeof reason === 'object' && reason !== null) throw reason;
    throw new Error('getUserInfo failed without an error', { cause: reason });
  }
}

/** The result of a load. A missing user is reported only once the store has ended their sessions. */
async function detailOf<Detail>({ detail, stored }: Load<Detail>): Promise<ReadonlyJson<Detail> | null> {
  const loaded = await detail;
  if (loaded === null) await stored;
  return loaded;
}

/** Resolves when the promise has settled in any way, with its error; or after `ms` milliseconds. `null`: no error. */
function settledWithin(promise: Promise<unknown>, ms: number): Promise<unknown> {
  return new Promise((resolve) => {
    const settle = (error: unknown) => {
      clearTimeout(timer);
      resolve(error);
    };
    const timer = setTimeout(settle, ms, null).unref();
    promise.then(() => settle(null), settle);
  });
}

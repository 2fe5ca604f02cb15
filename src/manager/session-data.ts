import { checkText, isPlainObject, kindOf } from '../errors/arguments';
import { refuseWrites } from '../errors/refuse-writes';
import { SessionError } from '../errors/session-error';
import { checkSize, overLimit } from '../store/session-entries';
import type {
  DataChange,
  DataLimits,
  DataWritten,
  FoundData,
  ReusePolicy,
  SessionEntries,
  Store,
} from '../store/store';
import { parseDataValue } from '../store/stored-json';
import type { TokenClaims } from '../token/token';
import { jsonOf } from './json-value';
import type { SessionLookup } from './session-lookup';
import type { RegisteredData } from './types';

const MAX_TRIES = 20;

/** The session that the data belongs to. */
export interface DataOwner {
  /** The token of the session now; `null` for none. Throws where the session could not be found out. */
  token(): string | null;
  /** Data that came with the session; `null` for none, and once it may be out of date. */
  known: SessionEntries | null;
  /**
   * Starts a visitor's session with this data, when there is no token. Gives `false` when there is one by now. `null`:
   * visitors can't start here.
   */
  startVisitor: ((entries: SessionEntries) => Promise<boolean>) | null;
  /** Runs each call. */
  answering<Outcome>(act: () => Promise<Outcome>): Promise<Outcome>;
}

export interface DataAccess {
  store: Store;
  lookup: SessionLookup;
  reuse: ReusePolicy;
  limits: DataLimits;
}

type Key<Data> = keyof Data & string;

const NONE: SessionEntries = new Map();

/**
 * The data of a session: JSON values under keys of the application's choice. Each method is one call to the store,
 * carried out at once (`update` two: a read and a write). Nothing is saved at the end of a request, so that parallel
 * requests lose none of each other's keys. The data lives as long as its session and ends with it.
 *
 * In a request without a user, the first write starts a visitor's session and sets its cookie, see the option
 * `visitorTtl`. It rejects with `ERR_CROSS_ORIGIN` for a page of an origin that is not trusted, and with
 * `ERR_HEADERS_SENT` when it is too late for a cookie.
 *
 * A key is any non-empty text. After the session has ended, reads find nothing, and writes reject with
 * `ERR_NO_SESSION`. An argument of the wrong kind is a TypeError or RangeError. All methods reject with a {@link
 * SessionError} when the store can't answer.
 */
export class SessionData<Data extends object = RegisteredData> {
  readonly #access: DataAccess;
  readonly #owner: DataOwner;

  /** @internal */
  constructor(access: DataAccess, owner: DataOwner) {
    this.#access = access;
    this.#owner = owner;
    Object.preventExtensions(this);
  }

  /** The value of a key; `undefined` when there is none. */
  async get<Name extends Key<Data>>(key: Name): Promise<Data[Name] | undefined> {
    checkText('key', key);
    return parsed((await this.#read([key])).get(key));
  }

  /** All keys and their values. */
  async getAll(): Promise<Partial<Data>> {
    const entries = [...(await this.#read(null))].map(([key, json]) => [key, parsed(json)]);
    return Object.fromEntries(entries) as Partial<Data>;
  }

  /**
   * Sets one key, or several at once: all or none.
   *
   * @throws TypeError naming the part of a value that JSON can't carry. SessionError `ERR_DATA_TOO_LARGE` over the
   *   manager's `maxDataBytes` or `maxDataKeys`. Nothing was changed then.
   */
  async set<Name extends Key<Data>>(key: Name, value: Data[Name]): Promise<void>;
  async set(values: Partial<Data>): Promise<void>;
  async set(keyOrValues: unknown, ...rest: unknown[]): Promise<void> {
    const values = typeof keyOrValues === 'object' ? entriesOf(keyOrValues) : [[keyOrValues, rest[0]] as const];
    const entries = new Map(values.map(([key, value]) => [checkText('key', key), jsonOf(String(key), value)]));
    if (entries.size === 0) return;
    await this.#write({ entries });
  }

  /** Deletes a key. `false` when there was none. */
  async delete(key: Key<Data>): Promise<boolean> {
    return (await this.#take(key)) !== null;
  }

  /** Gives the value of a key and deletes it, for messages that are shown once. `undefined` when there was none. */
  async pop<Name extends Key<Data>>(key: Name): Promise<Data[Name] | undefined> {
    return parsed((await this.#take(key)) ?? undefined);
  }

  /**
   * Adds to a number and gives the sum. A missing key counts as 0.
   *
   * @param by default 1.
   * @throws TypeError when the key has another value, RangeError when the sum is too large for a number. Nothing was
   *   changed then.
   */
  async increment(key: Key<Data>, by = 1): Promise<number> {
    checkText('key', key);
    if (typeof by !== 'number') throw new TypeError(`by must be a number, got ${kindOf(by)}`);
    if (!Number.isFinite(by)) throw new RangeError(`by must be a finite number, got ${by}`);
    const { store, reuse, limits } = this.#access;
    const first = { entries: new Map([[key, jsonOf(key, by)]]), outcome: by };
    const sum = await this.#change(first, (claims) => store.addToData(claims.tag, claims, reuse, { key, by }, limits));
    if (sum === 'no-number') throw new TypeError(`the value of ${JSON.stringify(key)} is not a number`);
    if (sum === 'no-sum') throw new RangeError(`the value of ${JSON.stringify(key)} would not be a finite number`);
    if (typeof sum !== 'number') throw overLimit(sum, limits);
    return sum;
  }

  /**
   * Replaces the value of a key by the result of `change`. When another request was quicker, `change` runs again on the
   * new value. `undefined` deletes the key.
   *
   * @returns the new value.
   * @throws the error of `change`; SessionError `ERR_DATA_CONFLICT` when other requests were quicker 20 times in a row.
   * @example
   * await req.session.data.update('cart', (items = []) => [...items, item]);
   */
  async update<Name extends Key<Data>>(
    key: Name,
    change: (value: Data[Name] | undefined) => Data[Name] | undefined | PromiseLike<Data[Name] | undefined>,
  ): Promise<Data[Name] | undefined> {
    checkText('key', key);
    if (typeof change !== 'function') throw new TypeError(`change must be a function, got ${kindOf(change)}`);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      this.#owner.known = null;
      const before = (await this.#read([key])).get(key) ?? null;
      const value = await change(parsed(before ?? undefined));
      const json = value === undefined ? null : jsonOf(key, value);
      if (json === before) return value;
      const replacement = { entries: new Map([[key, json]]), condition: { key, json: before } };
      if ((await this.#write(replacement)) === 'done') return value;
    }
    const message = `other requests changed ${JSON.stringify(key)} ${MAX_TRIES} times meanwhile`;
    throw new SessionError('ERR_DATA_CONFLICT', message);
  }

  /** Deletes all data of the session. */
  async clear(): Promise<void> {
    const { store, reuse } = this.#access;
    const first = { entries: NONE, outcome: 'done' } as const;
    await this.#change(first, (claims) => store.clearData(claims.tag, claims, reuse));
  }

  async #read(keys: readonly string[] | null): Promise<SessionEntries> {
    const { known } = this.#owner;
    if (known !== null) return known;
    const { store, reuse } = this.#access;
    const verb = (claims: TokenClaims) => store.readData(claims.tag, claims, reuse, keys);
    const found = await this.#owner.answering(async () => this.#access.lookup.onData(this.#owner.token(), verb));
    return found?.data ?? new Map();
  }

  #take(key: string): Promise<string | null> {
    const { store, reuse } = this.#access;
    checkText('key', key);
    const first = { entries: NONE, outcome: null };
    return this.#change<string | null>(first, (claims) => store.takeData(claims.tag, claims, reuse, key));
  }

  async #write(change: DataChange): Promise<'done' | 'changed'> {
    const { store, reuse, limits } = this.#access;
    const { entries, condition } = change;
    checkSize(entries, limits);
    const set = [...entries].filter((entry): entry is [string, string] => entry[1] !== null);
    // Without a session by now, nothing that was read from one may go to a visitor.
    const isOvertaken = condition !== undefined && condition.json !== null;
    const first = isOvertaken
      ? ({ entries: NONE, outcome: 'changed' } as const)
      : ({ entries: new Map(set), outcome: 'done' } as const);
    const outcome = await this.#change<DataWritten | 'changed'>(first, (claims) =>
      store.writeData(claims.tag, claims, reuse, change, limits),
    );
    if (outcome === 'done' || outcome === 'changed') return outcome;
    throw overLimit(outcome, limits);
  }

  /**
   * Runs a verb that changes the session's data.
   *
   * @param first for a request without a session: the data to start a visitor's session with, and the outcome then.
   *   Without entries, no session starts.
   */
  #change<Outcome>(
    first: { entries: SessionEntries; outcome: Outcome },
    verb: (claims: TokenClaims) => Promise<FoundData<Outcome>>,
  ): Promise<Outcome> {
    const { startVisitor, answering } = this.#owner;
    return answering(async () => {
      if (this.#owner.token() === null && startVisitor !== null) {
        if (first.entries.size === 0) return first.outcome;
        checkSize(first.entries, this.#access.limits);
        if (await startVisitor(first.entries)) return first.outcome;
      }
      this.#owner.known = null;
      const found = await this.#access.lookup.onData(this.#owner.token(), verb);
      if (found !== null) return found.data;
      throw new SessionError('ERR_NO_SESSION', 'there is no live session to keep data of: nothing was written');
    });
  }
}

refuseWrites(
  SessionData.prototype,
  (name) => new TypeError(`data.${name} can't be assigned: call data.set(${JSON.stringify(name)}, …)`),
);

function parsed<Value>(json: string | undefined): Value | undefined {
  return json === undefined ? undefined : (parseDataValue(json) as Value);
}

function entriesOf(values: unknown): [string, unknown][] {
  const isPlain = isPlainObject(values);
  if (isPlain && Object.getOwnPropertySymbols(values).length === 0) return Object.entries(values);
  const got = values instanceof Map ? 'a Map: give Object.fromEntries() of it' : kindOf(values);
  throw new TypeError(`values must be a plain object of keys and values, got ${isPlain ? 'a symbol for a key' : got}`);
}

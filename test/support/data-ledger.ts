import { SessionError, type TokenManager } from 'tokensession';
import { requestSessionsOf } from '../../src/manager/token-manager';

/** A session, and the acknowledged changes to it. */
interface Account {
  readonly token: string;
  /** Keys that were set; `null` for an unacknowledged write, which may have happened. */
  readonly set: Map<string, number | null>;
  /** Keys that were taken out. */
  readonly taken: Set<string>;
  tried: number;
  counted: number;
  /** Whether a logout was requested, and whether it was acknowledged. */
  end: 'none' | 'tried' | 'done';
}

const USERS = ['ada', 'bob', null];
const MOST_KEYS = 300;
const MOST_ACCOUNTS = 12;

/** Writes data through services that may fail, and records what must be stored. */
export class DataLedger {
  acknowledged = 0;
  failed = 0;
  readonly #accounts: Account[] = [];
  #turns = 0;

  /** One call: mostly a write, sometimes a login or a logout. */
  async step(manager: TokenManager<never> | TokenManager<{ name: string }>): Promise<void> {
    const turn = this.#turns++;
    const open = this.#accounts.filter(({ end, set }) => end === 'none' && set.size < MOST_KEYS);
    const account = open[turn % open.length];
    if (account === undefined || open.length < MOST_ACCOUNTS) return this.#begin(manager as TokenManager, turn);
    const data = (manager as TokenManager).sessionData(account.token);
    if (turn % 400 === 0) {
      account.end = 'tried';
      if (await this.#isDone((manager as TokenManager).deleteToken(account.token))) account.end = 'done';
    } else if (turn % 3 === 0) {
      account.tried++;
      if (await this.#isDone(data.increment('count'), account)) account.counted++;
    } else {
      const key = `key ${turn}`;
      account.set.set(key, null);
      if (!(await this.#isDone(data.set(key, turn), account))) return;
      account.set.set(key, turn);
      if (turn % 5 !== 0) return;
      account.set.set(key, null);
      if (await this.#isDone(data.pop(key), account)) {
        account.set.delete(key);
        account.taken.add(key);
      }
    }
  }

  /** Differences between the store and the acknowledged changes. */
  async differences(manager: TokenManager<{ name: string }>): Promise<string[]> {
    const found: string[] = [];
    for (const { token, set, taken, tried, counted, end } of this.#accounts) {
      const data = (await manager.sessionData(token).getAll()) as Record<string, unknown>;
      const { count = 0, begin, ...rest } = data;
      if (end === 'done' && Object.keys(data).length > 0) found.push('data of a session that has ended');
      if (end !== 'none') continue;
      if (begin !== 0) found.push('a session is gone, or the data that it began with');
      if ((count as number) < counted || (count as number) > tried) found.push(`${counted} counts are ${count}`);
      for (const [key, value] of set) if (value !== null && rest[key] !== value) found.push(`${key} is ${rest[key]}`);
      for (const key of taken) if (key in rest) found.push(`${key} was taken and is there`);
    }
    return found;
  }

  async #begin(manager: TokenManager, turn: number): Promise<void> {
    const user = USERS[turn % USERS.length] ?? null;
    const data = new Map([['begin', '0']]);
    const starting =
      user === null
        ? requestSessionsOf(manager).startVisitor(data)
        : requestSessionsOf(manager).start(user, {}, { data });
    await this.#isDone(
      starting.then(({ token }) => {
        const noted = { set: new Map(), taken: new Set<string>(), tried: 0, counted: 0, end: 'none' as const };
        this.#accounts.push({ token, ...noted });
      }),
    );
  }

  /** Whether a call was acknowledged. A refusal other than an outage must have its reason in this ledger. */
  async #isDone(call: Promise<unknown>, account?: Account): Promise<boolean> {
    try {
      await call;
      this.acknowledged++;
      return true;
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      const isEnding = error.code === 'ERR_NO_SESSION' && account !== undefined && account.end !== 'none';
      if (error.status !== 503 && !isEnding) throw error;
      this.failed++;
      return false;
    }
  }
}

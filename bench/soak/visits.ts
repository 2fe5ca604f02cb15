import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { TokenManager } from 'tokensession';
import { type RequestSession, sessionMiddleware } from 'tokensession/express';
import { monotonicMs } from '../monotonic';
import type { Account, Book } from './book';
import type { Calls, Outcome } from './calls';
import { COUNTER, compareCounter, compareData, type DataEntry, newDataEntry, valueFor } from './data-entry';
import type { Announce } from './news';
import { pick } from './picks';
import type { Sighting } from './sighting';
import type { Operation } from './tally';

/** A visitor, as known to the process that started the session. Moments are those of {@link monotonicMs}. */
export interface VisitEntry {
  /** The name in the visitor's session data, kept after a login, too. */
  name: string;
  token: string;
  began: Sighting;
  /** The last request that slid it. */
  used: Sighting;
  /** `unknown`: a call that may have ended or slid it has failed, or it was seen dead. */
  fate: 'live' | 'unknown' | 'logged in' | 'expired';
  /** The login that ended it. */
  login: Sighting | null;
  /** The first reply that it is dead while it was live. */
  seenDead: Sighting | null;
  /** The first reply that it is live, after the login that ended it, and after its expiry. */
  seenAlive: Sighting | null;
  outlived: Sighting | null;
  data: DataEntry;
}

interface Settings {
  manager: TokenManager;
  book: Book;
  calls: Calls;
  announce: Announce;
}

interface Visit extends VisitEntry {
  account: Account;
  isBusy: boolean;
  /** Whether it gets no more requests, so that it expires. */
  isLeft: boolean;
}

export const VISITOR_TTL = 6;
const TTL_MS = 1000 * VISITOR_TTL;
/** The least time to live after a use: with a long `slideEvery`, a session slides at half its ttl. */
const LEAST_LEFT_MS = TTL_MS / 2;
/** The tolerance between the clocks of this machine and its servers, and for a late timer. */
const MARGIN_MS = 500;
const MOST_OPEN = 10;
/** The most sessions of a user that visitors start: the manager's own limit is not tested here. */
const MAX_OPEN = 8;

/** Visitors that write data, log in with it, or expire. Each request goes through the middleware. */
export class Visits {
  readonly #visits: Visit[] = [];
  readonly #book: Book;
  readonly #calls: Calls;
  readonly #announce: Announce;
  readonly #middleware: ReturnType<typeof sessionMiddleware>;
  #open: Visit[] = [];
  #ended: Visit[] = [];

  constructor({ manager, book, calls, announce }: Settings) {
    this.#book = book;
    this.#calls = calls;
    this.#announce = announce;
    this.#middleware = sessionMiddleware(manager, { cookie: { secure: false } });
  }

  get entries(): VisitEntry[] {
    return this.#visits.map(({ account: _account, isBusy: _isBusy, isLeft: _isLeft, ...entry }) => entry);
  }

  async step(): Promise<void> {
    const visit = pick(this.#open);
    if (visit === undefined || (this.#open.length < MOST_OPEN && Math.random() < 0.3)) return this.#begin();
    if (visit.isBusy) return;
    visit.isBusy = true;
    const chance = Math.random();
    const isLate = monotonicMs() > visit.used.begun + LEAST_LEFT_MS - MARGIN_MS;
    if (visit.isLeft || isLate) await this.#leave(visit);
    else if (chance < 0.05) visit.isLeft = true;
    else if (chance < 0.15) await this.#login(visit);
    else if (chance < 0.35) await this.#read(visit);
    else if (chance < 0.45) await this.#lookAtEnded();
    else await this.#write(visit, chance < 0.7);
    visit.isBusy = false;
  }

  async #begin(): Promise<void> {
    const account = pick(this.#book.accounts) as Account;
    const name = this.#book.nextDevice(account);
    const key = 'key 0';
    const outcome = await this.#calls.make('visit', null, () =>
      this.#request(null, async (session) => {
        await session.data.set(key, valueFor(name, key));
        return session.token as string;
      }),
    );
    if (!outcome.ok) return;
    const { reply: token, sighting } = outcome;
    const data = { ...newDataEntry(), set: { [key]: sighting }, written: 1 };
    const seen = { login: null, seenDead: null, seenAlive: null, outlived: null };
    const entry = { name, token, began: sighting, used: sighting, fate: 'live' as const, data, ...seen };
    const visit: Visit = { ...entry, account, isBusy: false, isLeft: false };
    this.#open.push(visit);
    this.#visits.push(visit);
  }

  async #write(visit: Visit, isSet: boolean): Promise<void> {
    const { data, name } = visit;
    const key = `key ${Object.keys(data.set).length}`;
    if (isSet) data.set[key] = null;
    else data.tried++;
    const found = await this.#use(visit, 'visit write', async (session) =>
      isSet ? session.data.set(key, valueFor(name, key)) : session.data.increment(COUNTER),
    );
    if (found === null) return;
    data.written++;
    if (isSet) data.set[key] = found.sighting;
    else {
      data.added.push(found.sighting);
      for (const note of compareCounter(data, name, found.reply, found.sighting.settled)) this.#calls.mixedUp(note);
    }
  }

  async #read(visit: Visit): Promise<void> {
    const found = await this.#use(visit, 'visit read', (session) => session.data.getAll());
    if (found === null) return;
    for (const note of compareData(visit.data, visit.name, found.reply, found.sighting.settled))
      this.#calls.mixedUp(note);
  }

  /** Logs in as a user, and keeps all data. */
  async #login(visit: Visit): Promise<void> {
    const { account, data, name } = visit;
    if (account.isBusy || account.open.length >= MAX_OPEN) return;
    await this.#book.asOnlyWriter(account, async () => {
      const begun = monotonicMs();
      visit.fate = 'unknown';
      const found = await this.#use(visit, 'visit login', async (session) => {
        const before = await session.data.getAll();
        const keep = [...Object.keys(data.set), COUNTER];
        const token = await session.login(account.id, { keep, attributes: { device: name } });
        return { before, token };
      });
      this.#open = this.#open.filter((other) => other !== visit);
      if (found === null) {
        account.failedLogins++;
        return;
      }
      const { reply, sighting } = found;
      for (const note of compareData(data, name, reply.before, sighting.settled)) this.#calls.mixedUp(note);
      Object.assign(visit, { fate: 'logged in', login: sighting });
      this.#ended.push(visit);
      const set = Object.entries(data.set).map(([key, write]) => [key, write && sighting] as const);
      const kept = {
        ...data,
        added: data.added.map(() => sighting),
        set: Object.fromEntries(set),
        losses: [],
        written: 0,
      };
      this.#book.loggedIn(account, reply.token, name, begun, kept);
      this.#announce.loggedIn([reply.token, account.id]);
    });
  }

  /** Checks that it is dead after its expiry. */
  async #leave(visit: Visit): Promise<void> {
    visit.isLeft = true;
    if (monotonicMs() < visit.used.settled + TTL_MS + MARGIN_MS) return;
    this.#open = this.#open.filter((other) => other !== visit);
    const outcome = await this.#look(visit);
    if (!outcome.ok || visit.fate !== 'live') return;
    visit.fate = 'expired';
    if (outcome.reply) visit.outlived = outcome.sighting;
  }

  async #lookAtEnded(): Promise<void> {
    const visit = pick(this.#ended);
    if (visit === undefined) return;
    const outcome = await this.#look(visit);
    if (outcome.ok && outcome.reply) visit.seenAlive ??= outcome.sighting;
    this.#ended = this.#ended.slice(-MOST_OPEN);
  }

  #look({ token }: Visit): Promise<Outcome<boolean>> {
    return this.#calls.make('visit read', null, () => this.#request(token, async ({ id }) => id !== null));
  }

  /** A request of a live visitor; `null` when it failed, or found it dead. */
  async #use<Reply>(
    visit: Visit,
    operation: Operation,
    work: (session: RequestSession) => Promise<Reply>,
  ): Promise<{ reply: Reply; sighting: Sighting } | null> {
    const outcome = await this.#calls.make(operation, null, () =>
      this.#request(visit.token, async (session) => (session.id === null ? null : { done: await work(session) })),
    );
    // A failed request may have slid it, or may still do so.
    if (!outcome.ok) visit.fate = 'unknown';
    else if (outcome.reply === null) {
      if (outcome.sighting.settled < visit.used.begun + LEAST_LEFT_MS - MARGIN_MS) visit.seenDead ??= outcome.sighting;
      visit.fate = 'unknown';
    }
    if (!outcome.ok || outcome.reply === null) {
      this.#open = this.#open.filter((other) => other !== visit);
      return null;
    }
    visit.used = outcome.sighting;
    return { reply: outcome.reply.done, sighting: outcome.sighting };
  }

  /** A request with this visitor's cookie, through the middleware. */
  async #request<Reply>(token: string | null, work: (session: RequestSession) => Promise<Reply>): Promise<Reply> {
    const headers = token === null ? {} : { cookie: `session-visitor=${token}` };
    const req = Object.assign(new IncomingMessage(new Socket()), { method: 'GET', url: '/', originalUrl: '/' });
    Object.defineProperty(req, 'headers', { value: headers });
    const made = Object.assign(req, { ip: '::1', secure: false, app: { get: () => () => false } });
    await new Promise<void>((resolve, reject) => {
      const next = (error?: unknown) => (error === undefined ? resolve() : reject(error));
      this.#middleware(made as never, new ServerResponse(req) as never, next);
    });
    return work((made as unknown as { session: RequestSession }).session);
  }
}

/*
 * The expected sessions of a few users, in plain lists: written from the promises of README and the store port, not
 * from the code of the stores. It takes session ids and token times from the package, and derives all else.
 */
import type { EndReason, SessionAttributes, SessionEvents } from 'tokensession';
import { DataModel, type Entries } from './data-model';
import { UserInfoModel } from './user-info-model';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** The number of ended and expired sessions of one user whose reason is remembered. */
const MOST_REASONS = 100;

/** Stands for the user id of a visitor's session. */
export const VISITOR = '';

/** The options of a manager, in seconds. */
export interface ManagerRules {
  ttl: number;
  visitorTtl: number;
  slideEvery: number;
  absoluteTtl: number | null;
  singleMode: boolean;
  maxSessions: number;
  maxSessionsPerDevice: number | Record<string, number> | null;
  onLimit: 'replace' | 'reject';
  rotationGrace: number;
  onReuse: 'end-session' | 'ignore';
}

export interface LoginRequest {
  ttl?: number;
  absoluteTtl?: number;
  attributes: SessionAttributes;
  /** The user who acts as this user. */
  actor?: string;
  /** Tokens in the same request, of any user or visitor. */
  replaces: readonly ModelToken[];
  /** The initial data of the session. */
  data?: Entries;
}

/**
 * The claims of a token: its session, its generation, when it was made, and the last proof of identity.
 */
export interface ModelToken {
  userId: string;
  id: string;
  gen: number;
  mintedAt: number;
  provedAt: number;
}

export interface ModelSession {
  readonly userId: string;
  /** The public id, for the whole life of the session. */
  readonly id: string;
  readonly createdAt: number;
  /** The newest used token. */
  newest: ModelToken;
  /** The first use of that token. */
  confirmedAt: number;
  seenAt: number;
  ttlMs: number;
  capAt: number;
  attributes: SessionAttributes;
  actor: string | null;
  readonly data: DataModel;
  /** The reason of an early end; `null` without one. */
  end: { reason: EndReason; message: string | null } | null;
  /** Until when the reason of its end is remembered. */
  rememberedUntil: number;
  /** Whether that reason was dropped early, in favour of other sessions'. */
  isForgotten: 'no' | 'perhaps' | 'yes';
}

/** The start values of a session; durations in seconds. */
interface Begin {
  ttl: number;
  life: number;
  attributes: SessionAttributes;
  actor: string | undefined;
  data: Entries | undefined;
}

/** An event, as `[name, event]`. */
export type ModelEvent = { [Name in keyof SessionEvents]: [Name, SessionEvents[Name]] }[keyof SessionEvents];

/** Why a token is not live, and the events of the check. */
export interface Absence {
  session: null;
  reason: EndReason;
  message: string | null;
  events: ModelEvent[];
  /** Whether this check has noticed the end, and whether it has caused it. */
  isDetected: boolean;
  isEndedNow: boolean;
}

/** The expected view of a token: its session, or one of several absences if the promise leaves that open. */
type Sight = { session: ModelSession } | readonly [Absence, ...Absence[]];

interface ModelBan {
  since: number;
  until: number | null;
  reason: string | null;
}

export class SessionModel {
  /** The store's clock. */
  now = 0;
  readonly #msPerSecond: number;
  /** All sessions so far, in order of login. */
  readonly #sessions: ModelSession[] = [];
  readonly #bans = new Map<string, ModelBan>();
  readonly #infos = new Map<string, UserInfoModel>();

  constructor(msPerSecond: number) {
    this.#msPerSecond = msPerSecond;
  }

  expiryOf({ seenAt, ttlMs, capAt }: ModelSession): number {
    return Math.min(seenAt + ttlMs, capAt);
  }

  isLive(session: ModelSession): boolean {
    return session.end === null && this.expiryOf(session) > this.now;
  }

  /** The live sessions of a user, oldest login first. */
  live(userId: string): ModelSession[] {
    return this.#of(userId).filter((session) => this.isLive(session));
  }

  banOf(userId: string): ModelBan | null {
    const ban = this.#bans.get(userId);
    return ban !== undefined && (ban.until === null || ban.until > this.now) ? ban : null;
  }

  /** The moments of changes by time alone: results at exactly those moments may go either way. */
  moments(rules: readonly ManagerRules[]): number[] {
    const bans = [...this.#bans.values()].map(({ until }) => until ?? Number.POSITIVE_INFINITY);
    const ends = this.#sessions.flatMap((session) => [
      ...(session.end === null ? [this.expiryOf(session)] : []),
      this.#rememberedUntil(session),
      ...rules.map(({ rotationGrace }) => session.confirmedAt + this.#ms(rotationGrace)),
      ...rules
        .filter(({ slideEvery }) => slideEvery > 0)
        .map((rule) => session.seenAt + this.#slideAfter(session, rule)),
    ]);
    return [...bans, ...ends, ...[...this.#infos.values()].map(({ until }) => until)];
  }

  infoOf(userId: string): UserInfoModel {
    const info = this.#infos.get(userId) ?? new UserInfoModel();
    this.#infos.set(userId, info);
    return info;
  }

  /** The data of a session, live or not. */
  dataOf({ userId, id }: ModelToken): DataModel {
    return this.#find(userId, id)?.data ?? new DataModel();
  }

  /** Ids of the sessions whose data may still be stored: live ones, and remembered expired ones. */
  get idsWithData(): string[] {
    return this.#sessions.filter(({ end, isForgotten }) => end === null && isForgotten !== 'yes').map(({ id }) => id);
  }

  /** Finds the user's session of a token: {@link find} without visitors. */
  look(token: ModelToken, rules: ManagerRules): Sight {
    return token.userId === VISITOR ? [UNKNOWN] : this.find(token, rules);
  }

  /** Finds the session of a token, also a visitor's. A reuse may end it; the record is not moved on. */
  find(token: ModelToken, rules: ManagerRules): Sight {
    const { userId, id } = token;
    const session = this.#find(userId, id);
    if (session === undefined) return [UNKNOWN];
    if (!this.isLive(session)) return this.#absenceOf(session);
    if (!this.#isReuse(token, session, this.#ms(rules.rotationGrace))) return { session };

    const isEnding = rules.onReuse === 'end-session';
    if (isEnding) this.#end(session, 'reused', null);
    const event = { userId, sessionId: id, ended: isEnding };
    const found = { isDetected: true, isEndedNow: isEnding };
    return [{ session: null, reason: 'reused', message: null, events: [['reused', event]], ...found }];
  }

  /** The generation table of the design. */
  #isReuse({ gen, mintedAt }: ModelToken, { newest, confirmedAt }: ModelSession, graceMs: number): boolean {
    if (gen > newest.gen) return false;
    if (gen === newest.gen && Math.abs(mintedAt - newest.mintedAt) <= graceMs) return false;
    return this.now >= confirmedAt + graceMs;
  }

  /** The expected claims of a child made now: the next generation, with the same proof unless there is a new one. */
  childOf(token: ModelToken, session: ModelSession, proof: 'inherited' | 'now'): ModelToken {
    const gen = 1 + Math.max(token.gen, session.newest.gen);
    return { ...token, gen, mintedAt: this.now, provedAt: proof === 'now' ? this.now : token.provedAt };
  }

  /** Whether a login is accepted, and which live sessions it then ends. */
  admit(userId: string, login: LoginRequest, rules: ManagerRules): { ending: ModelSession[] } | { code: string } {
    if (this.banOf(userId) !== null) return { code: 'ERR_USER_BANNED' };
    const live = this.live(userId);
    const replaced = live.filter((session) =>
      login.replaces.some((token) => this.#find(token.userId, token.id) === session),
    );
    let staying = live.filter((session) => !replaced.includes(session));
    const before = staying.length;
    const device = login.attributes.device || null;
    const isAlike = (session: ModelSession) => (session.attributes.device || null) === device;
    const room = deviceLimit(rules.maxSessionsPerDevice, device);
    while (staying.filter(isAlike).length >= room) {
      const oldest = staying.find(isAlike);
      staying = staying.filter((session) => session !== oldest);
    }
    while (staying.length >= (rules.singleMode ? 1 : rules.maxSessions)) staying = staying.slice(1);
    if (rules.onLimit === 'reject' && staying.length < before) return { code: 'ERR_TOO_MANY_SESSIONS' };
    return { ending: live.filter((session) => !staying.includes(session)) };
  }

  /** Starts an accepted session with its token, and returns the events. */
  login(first: ModelToken, login: LoginRequest, rules: ManagerRules): ModelEvent[] {
    const { userId, id } = first;
    const admitted = this.admit(userId, login, rules);
    if ('code' in admitted) throw new Error(`the model refuses this login: ${admitted.code}`);
    const { attributes, actor, ttl = rules.ttl, absoluteTtl, replaces, data } = login;
    // Logins of one user are ordered, even within one millisecond.
    const createdAt = Math.max(first.mintedAt, ...this.live(userId).map((session) => session.createdAt + 1));
    const events: ModelEvent[] = [];
    for (const session of admitted.ending) {
      events.push(['replaced', { userId, sessionId: session.id, by: id }]);
      this.#end(session, 'replaced', null);
    }
    for (const token of replaces) {
      if (token.userId !== userId) events.push(...this.#replace(token, id));
      else this.#mayForget(token);
    }
    const life = Math.min(rules.absoluteTtl ?? Number.POSITIVE_INFINITY, absoluteTtl ?? Number.POSITIVE_INFINITY);
    this.#begin(first, createdAt, { ttl, life, attributes, actor, data });
    this.#dropOld(userId);
    events.push(['login', { userId, sessionId: id, attributes, ...(actor !== undefined && { actor }) }]);
    return events;
  }

  /** Starts the session of a visitor with its token. Visitors cause no events. */
  visit(first: ModelToken, data: Entries, { visitorTtl: ttl, absoluteTtl }: ManagerRules): ModelSession {
    const life = absoluteTtl ?? Number.POSITIVE_INFINITY;
    return this.#begin(first, first.mintedAt, { ttl, life, attributes: {}, actor: undefined, data });
  }

  #begin(first: ModelToken, createdAt: number, { ttl, life, attributes, actor, data }: Begin): ModelSession {
    const session: ModelSession = {
      userId: first.userId,
      id: first.id,
      createdAt,
      newest: first,
      confirmedAt: first.mintedAt,
      seenAt: this.now,
      ttlMs: this.#ms(ttl),
      capAt: this.now + this.#ms(life),
      attributes,
      actor: actor ?? null,
      data: new DataModel(data),
      end: null,
      rememberedUntil: Number.POSITIVE_INFINITY,
      isForgotten: 'no',
    };
    this.#sessions.push(session);
    return session;
  }

  /** A login may drop an expired session that it replaces. */
  #mayForget({ userId, id }: ModelToken): void {
    const session = this.#find(userId, id);
    if (session?.end === null && !this.isLive(session) && session.isForgotten === 'no') session.isForgotten = 'perhaps';
  }

  /** Ends another user's session, or a visitor's, at a login in the same browser. */
  #replace({ userId, id }: ModelToken, by: string): ModelEvent[] {
    const session = this.#find(userId, id);
    if (session === undefined || !this.#endIfLive(session, 'replaced', null)) return [];
    return userId === VISITOR ? [] : [['replaced', { userId, sessionId: session.id, by }]];
  }

  /** Ends a session for its holder, by any of its tokens: no reason is kept. */
  logout(token: ModelToken): { wasLive: boolean; events: ModelEvent[] } {
    const session = this.#find(token.userId, token.id);
    if (session === undefined || !this.#endIfLive(session, 'unknown', null)) return { wasLive: false, events: [] };
    const { userId, id: sessionId } = session;
    return { wasLive: true, events: userId === VISITOR ? [] : [['logout', { userId, sessionId }]] };
  }

  /** Ends one session of a user by its id. */
  kick(userId: string, id: string, message: string | null): { wasLive: boolean; events: ModelEvent[] } {
    const session = this.#find(userId, id);
    if (session === undefined || !this.#endIfLive(session, 'revoked', message)) return { wasLive: false, events: [] };
    return { wasLive: true, events: [revoked(session, message)] };
  }

  /** Ends all sessions of a user whom a load did not find, and deletes the info. Returns the ids of the live ones. */
  gone(userId: string, version: number): string[] {
    const info = this.infoOf(userId);
    if (!info.counts(version, this.now)) return [];
    info.forget(this.now);
    const ids = this.live(userId).map(({ id }) => id);
    this.kickAll(userId, null, null);
    return ids;
  }

  /** Ends all sessions of a user but one. */
  kickAll(userId: string, except: string | null, message: string | null): { count: number; events: ModelEvent[] } {
    const kept = except === null ? undefined : this.#find(userId, except);
    const ending = this.live(userId).filter((session) => session !== kept);
    for (const session of this.#of(userId)) if (session !== kept) this.#endIfLive(session, 'revoked', message);
    this.#dropOld(userId);
    return { count: ending.length, events: ending.map((session) => revoked(session, message)) };
  }

  ban(userId: string, seconds: number | null, reason: string | null): { count: number; events: ModelEvent[] } {
    const until = seconds === null ? null : this.now + this.#ms(seconds);
    const ending = this.live(userId);
    for (const session of this.#of(userId)) this.#endIfLive(session, 'banned', reason);
    this.#dropOld(userId);
    this.#bans.set(userId, { since: this.now, until, reason });
    const sessionIds = ending.map(({ id }) => id).sort();
    const event = { userId, sessionIds, until: until === null ? null : new Date(until) };
    return { count: ending.length, events: [['banned', { ...event, ...(reason !== null && { reason }) }]] };
  }

  unban(userId: string): boolean {
    const wasBanned = this.banOf(userId) !== null;
    this.#bans.delete(userId);
    return wasBanned;
  }

  /** Uses a session by one of its tokens: moves the record to a newer token, and slides. */
  use(session: ModelSession, token: ModelToken, rules: ManagerRules): void {
    this.#moveOn(session, token);
    if (this.now - session.seenAt >= this.#slideAfter(session, rules)) session.seenAt = this.now;
  }

  refresh(session: ModelSession, token: ModelToken, ttl: number | null): void {
    this.#moveOn(session, token);
    session.seenAt = this.now;
    if (ttl !== null) session.ttlMs = this.#ms(ttl);
  }

  #moveOn(session: ModelSession, token: ModelToken): void {
    if (token.gen <= session.newest.gen) return;
    session.newest = token;
    session.confirmedAt = this.now;
  }

  #ms(seconds: number): number {
    return seconds * this.#msPerSecond;
  }

  #of(userId: string): ModelSession[] {
    return this.#sessions.filter((session) => session.userId === userId);
  }

  #find(userId: string, id: string): ModelSession | undefined {
    return this.#of(userId).find((session) => session.id === id);
  }

  #slideAfter({ ttlMs }: ModelSession, { slideEvery }: ManagerRules): number {
    return Math.min(this.#ms(slideEvery), ttlMs / 2);
  }

  #end(session: ModelSession, reason: EndReason, message: string | null): void {
    session.rememberedUntil = Math.min(this.expiryOf(session), this.now + DAY);
    session.end = { reason, message };
  }

  /** Ends a session. An expired one is only dropped. */
  #endIfLive(session: ModelSession, reason: EndReason, message: string | null): boolean {
    const isLive = this.isLive(session);
    if (isLive) this.#end(session, reason, message);
    else if (session.end === null) session.isForgotten = 'yes';
    return isLive;
  }

  /** How long the reason of an end is remembered: after an expiry for the ttl again, an hour at most. */
  #rememberedUntil(session: ModelSession): number {
    if (session.end !== null) return session.rememberedUntil;
    return this.expiryOf(session) + Math.min(session.ttlMs, HOUR);
  }

  /**
   * Drops expired reasons, and those beyond the limit, earliest expiry first. Of several with the same expiry, any may
   * go.
   */
  #dropOld(userId: string): void {
    for (const session of this.#of(userId)) {
      if (!this.isLive(session) && this.#rememberedUntil(session) <= this.now) session.isForgotten = 'yes';
    }
    const remembered = this.#of(userId).filter(
      (session) =>
        !this.isLive(session) &&
        session.end?.reason !== 'unknown' &&
        session.isForgotten !== 'yes' &&
        this.#rememberedUntil(session) > this.now,
    );
    const outcomes = remembered.map((session) => {
      const until = this.#rememberedUntil(session);
      const later = remembered.filter((other) => other.isForgotten === 'no' && this.#rememberedUntil(other) > until);
      const noSooner = remembered.filter((other) => this.#rememberedUntil(other) >= until);
      return later.length >= MOST_REASONS ? 'yes' : noSooner.length > MOST_REASONS ? 'perhaps' : session.isForgotten;
    });
    for (const [index, outcome] of outcomes.entries()) (remembered[index] as ModelSession).isForgotten = outcome;
  }

  /** Once its reason is forgotten, an expired session may stay until the store is pruned. */
  #absenceOf(session: ModelSession): [Absence, ...Absence[]] {
    const { end, userId, id, isForgotten } = session;
    const isOver = this.#rememberedUntil(session) <= this.now;
    if (isForgotten === 'yes' || (isOver && end !== null)) return [UNKNOWN];
    const isDetected = end === null;
    const events: ModelEvent[] =
      isDetected && userId !== VISITOR ? [['expired-on-use', { userId, sessionId: id }]] : [];
    const { reason, message } = end ?? { reason: 'expired', message: null };
    const known: Absence = { session: null, reason, message, events, isDetected, isEndedNow: false };
    return isOver || isForgotten === 'perhaps' ? [known, UNKNOWN] : [known];
  }
}

function revoked({ userId, id: sessionId }: ModelSession, message: string | null): ModelEvent {
  return ['revoked', { userId, sessionId, ...(message !== null && { message }) }];
}

const UNKNOWN: Absence = {
  session: null,
  reason: 'unknown',
  message: null,
  events: [],
  isDetected: false,
  isEndedNow: false,
};

function deviceLimit(limits: ManagerRules['maxSessionsPerDevice'], device: string | null): number {
  if (limits === null) return Number.POSITIVE_INFINITY;
  if (typeof limits === 'number') return limits;
  return (device === null ? undefined : limits[device]) ?? Number.POSITIVE_INFINITY;
}

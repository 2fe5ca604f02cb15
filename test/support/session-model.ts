/*
 * What the sessions of a few users ought to be, in plain lists: written from what README and the port's comments promise, and not from how
 * the stores keep it. It knows sessions by the ids that the real thing gives them, and all else it finds out by itself.
 */
import type { EndReason, SessionAttributes, SessionEvents } from 'tokensession';

const DAY = 24 * 3_600_000;

/** What a manager was told, in seconds as it was told. */
export interface ManagerRules {
  ttl: number;
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
  /** Tokens that come with it, of whichever user. */
  replaces: readonly ModelToken[];
}

/** What a token says: whose session, and under which id. */
export interface ModelToken {
  userId: string;
  id: string;
}

export interface ModelSession {
  readonly userId: string;
  /** The id by which it is listed. */
  id: string;
  /** The ids that it had before, and how each may still be used. */
  formerIds: Map<string, { graceOver: number; onReuse: ManagerRules['onReuse'] }>;
  createdAt: number;
  authenticatedAt: number;
  seenAt: number;
  ttlMs: number;
  capAt: number;
  attributes: SessionAttributes;
  /** How it ended before its time; `null` while it did not. */
  end: { reason: EndReason; message: string | null; toldUntil: number } | null;
  /** Whether somebody has tidied up since its time was up, so that nobody need know of it any more. */
  isTidiedUp: boolean;
}

/** An event, as `[name, event]`. */
export type ModelEvent = { [Name in keyof SessionEvents]: [Name, SessionEvents[Name]] }[keyof SessionEvents];

/** Why a token is not live, and what listeners hear of it. */
export interface Absence {
  session: null;
  reason: EndReason;
  message: string | null;
  events: ModelEvent[];
}

/** What is to be seen of a token: its session, or one of several possible absences where the promise leaves it open. */
export type Sight = { session: ModelSession } | readonly [Absence, ...Absence[]];

interface ModelBan {
  since: number;
  until: number | null;
  reason: string | null;
}

export class SessionModel {
  /** The store's clock. */
  now = 0;
  readonly #msPerSecond: number;
  /** All that ever were, in order of login. */
  readonly #sessions: ModelSession[] = [];
  readonly #bans = new Map<string, ModelBan>();

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

  /** The moments at which something changes by itself: what happens right then might be judged either way. */
  moments(rules: readonly ManagerRules[]): number[] {
    const bans = [...this.#bans.values()].map(({ until }) => until ?? Number.POSITIVE_INFINITY);
    const ends = this.#sessions.flatMap((session) => [
      session.end === null ? this.expiryOf(session) : session.end.toldUntil,
      ...[...session.formerIds.values()].map(({ graceOver }) => graceOver),
      ...rules
        .filter(({ slideEvery }) => slideEvery > 0)
        .map((rule) => session.seenAt + this.#slideAfter(session, rule)),
    ]);
    return [...bans, ...ends];
  }

  /** Looks for the session of a token, which for a token that was rotated away may end it. */
  look({ userId, id }: ModelToken): Sight {
    const session = this.#find(userId, id);
    const former = session?.formerIds.get(id);
    const ban = this.banOf(userId);
    if (ban !== null) return [{ session: null, reason: 'banned', message: ban.reason, events: [] }];
    if (session === undefined) return [UNKNOWN];
    if (!this.isLive(session)) return this.#absenceOf(session);
    if (former === undefined || former.graceOver > this.now) return { session };

    const isEnding = former.onReuse === 'end-session';
    if (isEnding) this.#end(session, 'reused', null);
    const event = { userId, sessionId: session.id, ended: isEnding };
    return [{ session: null, reason: 'reused', message: null, events: [['reused', event]] }];
  }

  /** Whether a login is let in; for one that is, the live sessions that give way. */
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

  /** Starts a session that was let in, under the id that it got, and gives what listeners hear. */
  login(userId: string, id: string, login: LoginRequest, rules: ManagerRules): ModelEvent[] {
    const admitted = this.admit(userId, login, rules);
    if ('code' in admitted) throw new Error(`the model refuses this login: ${admitted.code}`);
    const { attributes, ttl = rules.ttl, absoluteTtl, replaces } = login;
    const newest = Math.max(0, ...this.live(userId).map(({ createdAt }) => createdAt));
    const createdAt = Math.max(this.now, newest + 1);
    const life = Math.min(rules.absoluteTtl ?? Number.POSITIVE_INFINITY, absoluteTtl ?? Number.POSITIVE_INFINITY);
    const events: ModelEvent[] = [];
    for (const session of admitted.ending) {
      events.push(['replaced', { userId, sessionId: session.id, by: id }]);
      this.#end(session, 'replaced', null);
    }
    for (const token of replaces.filter((other) => other.userId !== userId)) events.push(...this.#replace(token, id));
    this.#tidyUp(userId);
    this.#sessions.push({
      userId,
      id,
      formerIds: new Map(),
      createdAt,
      authenticatedAt: createdAt,
      seenAt: this.now,
      ttlMs: this.#ms(ttl),
      capAt: this.now + this.#ms(life),
      attributes,
      end: null,
      isTidiedUp: false,
    });
    events.push(['login', { userId, sessionId: id, attributes }]);
    return events;
  }

  /** Ends another user's session for a login in the same browser. */
  #replace({ userId, id }: ModelToken, by: string): ModelEvent[] {
    const session = this.#find(userId, id);
    if (session === undefined) return [];
    if (!this.isLive(session)) {
      session.isTidiedUp = true;
      return [];
    }
    this.#end(session, 'replaced', null);
    return [['replaced', { userId, sessionId: session.id, by }]];
  }

  /** Ends a session as its holder does: nobody is told anything of it afterwards. */
  logout(token: ModelToken): { wasLive: boolean; events: ModelEvent[] } {
    const session = this.#find(token.userId, token.id);
    if (session === undefined) return { wasLive: false, events: [] };
    if (!this.isLive(session)) {
      session.isTidiedUp = true;
      return { wasLive: false, events: [] };
    }
    this.#end(session, 'unknown', null);
    return { wasLive: true, events: [['logout', { userId: token.userId, sessionId: session.id }]] };
  }

  /** Ends one session of a user by its id. */
  kick(userId: string, id: string, message: string | null): { wasLive: boolean; events: ModelEvent[] } {
    const session = this.#find(userId, id);
    if (session === undefined || !this.isLive(session)) {
      if (session !== undefined) session.isTidiedUp = true;
      return { wasLive: false, events: [] };
    }
    return { wasLive: true, events: [this.#revoke(session, message)] };
  }

  /** Ends all sessions of a user but one. */
  kickAll(userId: string, except: string | null, message: string | null): { count: number; events: ModelEvent[] } {
    const kept = except === null ? undefined : this.#find(userId, except);
    const ending = this.live(userId).filter((session) => session !== kept);
    this.#tidyUp(userId);
    return { count: ending.length, events: ending.map((session) => this.#revoke(session, message)) };
  }

  ban(userId: string, seconds: number | null, reason: string | null): { count: number; events: ModelEvent[] } {
    const until = seconds === null ? null : this.now + this.#ms(seconds);
    const ending = this.live(userId);
    this.#tidyUp(userId);
    for (const session of ending) this.#end(session, 'banned', reason);
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

  slide(session: ModelSession, rules: ManagerRules): void {
    if (this.now - session.seenAt >= this.#slideAfter(session, rules)) session.seenAt = this.now;
  }

  refresh(session: ModelSession, ttl: number | null): void {
    session.seenAt = this.now;
    if (ttl !== null) session.ttlMs = this.#ms(ttl);
  }

  /** Gives the session of this id another, unless it has one already. */
  rotate(session: ModelSession, id: string, newId: string, rules: ManagerRules): ModelEvent[] {
    if (session.id !== id) return [];
    session.formerIds.set(id, { graceOver: this.now + this.#ms(rules.rotationGrace), onReuse: rules.onReuse });
    session.id = newId;
    return [['rotated', { userId: session.userId, sessionId: newId, formerId: id }]];
  }

  #ms(seconds: number): number {
    return seconds * this.#msPerSecond;
  }

  #of(userId: string): ModelSession[] {
    return this.#sessions.filter((session) => session.userId === userId);
  }

  /** The session that has this id or had it. */
  #find(userId: string, id: string): ModelSession | undefined {
    return this.#of(userId).find((session) => session.id === id || session.formerIds.has(id));
  }

  #slideAfter({ ttlMs }: ModelSession, { slideEvery }: ManagerRules): number {
    return Math.min(this.#ms(slideEvery), ttlMs / 2);
  }

  #end(session: ModelSession, reason: EndReason, message: string | null): void {
    session.end = { reason, message, toldUntil: Math.min(this.expiryOf(session), this.now + DAY) };
  }

  #revoke(session: ModelSession, message: string | null): ModelEvent {
    this.#end(session, 'revoked', message);
    const { userId, id: sessionId } = session;
    return ['revoked', { userId, sessionId, ...(message !== null && { message }) }];
  }

  #tidyUp(userId: string): void {
    for (const session of this.#of(userId)) {
      if (!this.isLive(session)) session.isTidiedUp = true;
    }
  }

  /** Expiry is known of as long as the user has another session and nobody has tidied up; after that it may have been forgotten. */
  #absenceOf(session: ModelSession): [Absence, ...Absence[]] {
    const { end, userId, id } = session;
    if (end !== null) {
      const { reason, message, toldUntil } = end;
      return [toldUntil > this.now ? { session: null, reason, message, events: [] } : UNKNOWN];
    }
    const expired: Absence = {
      session: null,
      reason: 'expired',
      message: null,
      events: [['expired-on-use', { userId, sessionId: id }]],
    };
    const isKnown = !session.isTidiedUp && this.live(userId).length > 0;
    return isKnown ? [expired] : [expired, UNKNOWN];
  }
}

const UNKNOWN: Absence = { session: null, reason: 'unknown', message: null, events: [] };

function deviceLimit(limits: ManagerRules['maxSessionsPerDevice'], device: string | null): number {
  if (limits === null) return Number.POSITIVE_INFINITY;
  if (typeof limits === 'number') return limits;
  return (device === null ? undefined : limits[device]) ?? Number.POSITIVE_INFINITY;
}

import { expiryOf, type SessionRecord, type StoredBan, type StoredSession } from '../store/store';
import { sessionIdOf } from '../token/token';
import type { Ban, Session, SessionAttributes, SessionInfo, User } from './types';

/**
 * A stored session as an application gets it. A class, though nobody need know: of literals that have been kept for long once, V8 would put all later
 * ones where only a full collection finds them.
 */
class LiveSession<Detail> implements Session<Detail> {
  readonly id: string;
  readonly token: string;
  readonly user: User<Detail>;
  readonly createdAt: Date;
  readonly authenticatedAt: Date;
  readonly lastSeenAt: Date;
  readonly expiresAt: Date;
  readonly checkedAt: Date;
  readonly ttl: number;
  readonly attributes: SessionAttributes;

  constructor(token: string, user: User<Detail>, record: SessionRecord, now: number) {
    const expiresAt = expiryOf(record);
    this.id = record.sid;
    this.token = token;
    this.user = user;
    this.createdAt = new Date(record.createdAt);
    this.authenticatedAt = new Date(record.authenticatedAt);
    this.lastSeenAt = new Date(record.seenAt);
    this.expiresAt = new Date(expiresAt);
    this.checkedAt = new Date(now);
    this.ttl = Math.ceil((expiresAt - now) / 1000);
    this.attributes = { ...record.attributes };
  }
}

/** A stored session as an application gets it. `now` is the store's clock. */
export function sessionOf<Detail>(
  token: string,
  user: User<Detail>,
  record: SessionRecord,
  now: number,
): Session<Detail> {
  return new LiveSession(token, user, record, now);
}

/** What a request has of its session. */
export type RequestedSession<Detail> = Pick<
  Session<Detail>,
  'id' | 'token' | 'user' | 'createdAt' | 'authenticatedAt' | 'expiresAt' | 'checkedAt'
>;

/** A stored session for a request, whose times are made when somebody asks for them: of most requests nobody does. */
export class LazySession<Detail> implements RequestedSession<Detail> {
  readonly #record: SessionRecord;
  readonly #now: number;

  constructor(
    readonly token: string,
    readonly user: User<Detail>,
    { session, now }: StoredSession,
  ) {
    this.#record = session;
    this.#now = now;
  }

  get id(): string {
    return this.#record.sid;
  }

  get createdAt(): Date {
    return new Date(this.#record.createdAt);
  }

  get authenticatedAt(): Date {
    return new Date(this.#record.authenticatedAt);
  }

  get expiresAt(): Date {
    return new Date(expiryOf(this.#record));
  }

  get checkedAt(): Date {
    return new Date(this.#now);
  }
}

/** The same session, by another token. */
export function withToken<Detail>(session: RequestedSession<Detail>, token: string): RequestedSession<Detail> {
  const { user, createdAt, authenticatedAt, expiresAt, checkedAt } = session;
  return { id: sessionIdOf(token), token, user, createdAt, authenticatedAt, expiresAt, checkedAt };
}

/** A session without what could be signed in with. */
export function infoOf(record: SessionRecord, now: number): SessionInfo {
  const { token: _token, user: _user, checkedAt: _checkedAt, ...info } = sessionOf('', { id: '' }, record, now);
  return info;
}

/** A stored ban as an application gets it. */
export function banOf({ since, until, reason }: StoredBan): Ban {
  return {
    since: new Date(since),
    until: until === 0 ? null : new Date(until),
    ...(reason !== null && { reason }),
  };
}

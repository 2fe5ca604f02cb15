import { expiryOf, type SessionAttributes, type SessionRecord, type StoredBan } from '../store/store';
import type { Ban, DeepReadonly, Session, SessionInfo, User } from './types';

/**
 * A stored session as an application gets it. A class, though nobody need know: of literals that have been kept for
 * long once, V8 would put all later ones where only a full collection finds them.
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
  readonly actor: string | null;

  constructor(token: string, user: User<Detail>, record: SessionRecord, provedAt: number, now: number) {
    const expiresAt = expiryOf(record);
    this.id = record.sid;
    this.token = token;
    this.user = user;
    this.createdAt = new Date(record.createdAt);
    this.authenticatedAt = new Date(provedAt);
    this.lastSeenAt = new Date(record.seenAt);
    this.expiresAt = new Date(expiresAt);
    this.checkedAt = new Date(now);
    this.ttl = Math.ceil((expiresAt - now) / 1000);
    const { actor = null, ...attributes } = record.attributes;
    this.attributes = attributes;
    this.actor = actor;
  }
}

/**
 * A stored session as an application gets it.
 *
 * @param provedAt when the holder of this token last proved who they are. Milliseconds by the store's clock, as `now`.
 */
export function sessionOf<Detail>(
  token: string,
  user: User<Detail>,
  record: SessionRecord,
  provedAt: number,
  now: number,
): Session<Detail> {
  return new LiveSession(token, user, record, provedAt, now);
}

/** A user as an application gets them. `detail`: `undefined` for none; frozen already. */
export function userOf<Detail>(id: string, detail?: DeepReadonly<Detail>): User<Detail> {
  return Object.freeze(detail === undefined ? { id } : { id, detail });
}

/** A session without what could be signed in with. */
export function infoOf(record: SessionRecord, now: number): SessionInfo {
  const session = sessionOf('', userOf(''), record, record.provedAt, now);
  const { token: _token, user: _user, checkedAt: _checkedAt, ...info } = session;
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

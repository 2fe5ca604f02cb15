import { userOf } from '../store/shared-user';
import { expiryOf, type SessionAttributes, type SessionRecord, type StoredBan } from '../store/store';
import type { Ban, Session, SessionInfo, User } from './types';

/**
 * A stored session in the form for applications. A class, because V8 would put later object literals into memory that
 * only a full collection frees, once some have lived for long.
 */
export class LiveSession<Detail> implements Session<Detail> {
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

  /** @param provedAt when the holder of this token last proved who they are. Both times are by the store's clock. */
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
    const { actor = null, moved: _, ...attributes } = record.attributes;
    this.attributes = attributes;
    this.actor = actor;
  }
}

export function infoOf(record: SessionRecord, now: number): SessionInfo {
  const session = new LiveSession('', userOf(''), record, record.provedAt, now);
  const { token: _token, user: _user, checkedAt: _checkedAt, ...info } = session;
  return info;
}

export function banOf({ since, until, reason }: StoredBan): Ban {
  return {
    since: new Date(since),
    until: until === 0 ? null : new Date(until),
    ...(reason !== null && { reason }),
  };
}

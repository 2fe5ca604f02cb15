import { expiryOf, type SessionRecord, type StoredBan } from './store';
import type { Ban, Session, SessionInfo } from './types';

/** A stored session as an application gets it. `now` is the store's clock. */
export function sessionOf<Detail>(token: string, userId: string, record: SessionRecord, now: number): Session<Detail> {
  const expiresAt = expiryOf(record);
  return {
    id: record.sid,
    token,
    user: { id: userId },
    createdAt: new Date(record.createdAt),
    authenticatedAt: new Date(record.authenticatedAt),
    lastSeenAt: new Date(record.seenAt),
    expiresAt: new Date(expiresAt),
    checkedAt: new Date(now),
    ttl: Math.ceil((expiresAt - now) / 1000),
    attributes: { ...record.attributes },
  };
}

/** A session without what could be signed in with. */
export function infoOf(record: SessionRecord, now: number): SessionInfo {
  const { token: _token, user: _user, checkedAt: _checkedAt, ...info } = sessionOf('', '', record, now);
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

import { SessionError } from '../errors/session-error';
import type { EndedSession, Found, SessionRecord, StoredBan, StoredSession, StoredUser } from '../store/store';
import type { SessionAttributes } from '../manager/types';
import { LATE, REUSED } from './scripts/parts';

/*
 * What the scripts answer, read. Their headers say what that is.
 */

/** What a script on one session gives: the session, why there is none, or nothing. */
export type FoundReply =
  | string
  | [reason: string, message: string, userId: string, sid: string, isDetected: string | number]
  | null;

/** `created:seen:ttl:cap[:proof]`, in milliseconds. */
const RECORD = /^(\d{1,15}):(\d{1,15}):(\d{1,15}):(\d{1,15})(?::(\d{1,15}))?$/;

/** A live session, as the scripts give it: `record;now;session id`, the attributes, the cached info and the user id, a line each. */
const SESSION =
  /^(\d{1,15}):(\d{1,15}):(\d{1,15}):(\d{1,15})(?::(\d{1,15}))?;(\d+);([^\n]*)\n([^\n]*)\n([^\n]*)\n(.+)$/s;

/** `since:until:reason`. */
const BAN = /^(\d{1,15}):(\d{1,15}):(.*)$/s;

/** What a script gives that takes a deadline: the time, and when that was early enough the rest. */
export type TupleReply = [now: string | number, ...rest: string[]];

/** What `list` gives. */
export type ListReply = [userId: string, now: number, ...columns: (string | null)[]] | null;

/** The session that was asked for, or why there is none. */
export function parseFound(sid: string, reply: FoundReply): Found {
  if (reply === null) return null;
  if (typeof reply === 'string') return storedSession(sid, reply);
  const [text, message, userId, endedSid, isDetected] = reply;
  const reason = text === REUSED ? 'reused' : text;
  // A reason that only a later version of this package knows is none to us.
  if (!isReason(reason)) return null;
  const found = { session: null, userId, sid: endedSid, reason, message: message || null, isEndedNow: false };
  return { ...found, isDetected: Number(isDetected) === 1 };
}

/** Whether a rotated token was used that ends its session by that. */
export function isTheft(reply: FoundReply): boolean {
  return typeof reply === 'object' && reply?.[0] === REUSED;
}

const REASONS: Record<EndedSession['reason'], true> = {
  replaced: true,
  revoked: true,
  banned: true,
  reused: true,
  expired: true,
};

function isReason(text: string): text is EndedSession['reason'] {
  return Object.hasOwn(REASONS, text);
}

/** Where the time is in the answers of a script that takes a deadline by Redis's clock. */
export interface Timing<Reply> {
  /** The time when it refused as too late; `null` when it did not. */
  refusedAt(reply: Reply): number | null;
  /** The time in any other answer; `null` when it holds none. */
  answeredAt(reply: Reply): number | null;
}

/** Of the scripts on one session. */
export const FOUND_TIMING: Timing<FoundReply> = {
  refusedAt: (reply) => (typeof reply === 'string' && reply.startsWith(LATE) ? Number(reply.slice(LATE.length)) : null),
  answeredAt: (reply) => (typeof reply === 'string' ? Number(SESSION.exec(reply)?.[6]) : null),
};

/** Of the scripts whose answers begin with the time, and hold nothing else when they came too late. */
export const TUPLE_TIMING: Timing<readonly (string | number)[]> = {
  refusedAt: (reply) => (reply.length === 1 ? Number(reply[0]) : null),
  answeredAt: (reply) => Number(reply[0]),
};

function storedSession(sid: string, reply: string): StoredSession {
  const [, created, seen, ttl, cap, proof, now, otherSid, attributes, userInfo, userId] = SESSION.exec(reply) ?? [];
  if (attributes === undefined || userId === undefined) throw notARecord();
  const session = recordOf(otherSid || sid, [created, seen, ttl, cap, proof], attributes);
  return { userId, session, now: Number(now), userInfo: userInfo || null };
}

/** A user's sessions, oldest login first. */
export function parseList(reply: ListReply): StoredUser | null {
  if (reply === null) return null;
  const [userId, now, ...columns] = reply;
  const sessions: SessionRecord[] = [];
  for (let i = 0; i < columns.length; i += 3) {
    const [sid, record, attributes] = columns.slice(i, i + 3) as [string, string, string | null];
    sessions.push(parseRecord(sid, record, attributes));
  }
  return { userId, now: Number(now), sessions: sessions.sort((a, b) => a.createdAt - b.createdAt) };
}

/** A session, of the record of it. */
export function parseRecord(sid: string, record: string, attributes: string | null): SessionRecord {
  const fields = RECORD.exec(record);
  if (fields === null) throw notARecord();
  return recordOf(sid, fields.slice(1), attributes);
}

function recordOf(sid: string, fields: readonly (string | undefined)[], attributes: string | null): SessionRecord {
  return {
    sid,
    createdAt: Number(fields[0]),
    seenAt: Number(fields[1]),
    ttlMs: Number(fields[2]),
    capAt: Number(fields[3]),
    authenticatedAt: Number(fields[4] ?? fields[0]),
    attributes: attributesOf(attributes),
  };
}

/** A ban, of the text of it. */
export function parseBan(userId: string, text: string): StoredBan {
  const [, since, until, reason] = BAN.exec(text) ?? [];
  if (since === undefined) throw notARecord();
  return { userId, since: Number(since), until: Number(until), reason: reason || null };
}

/** The ids that a script has joined. */
export function idsIn(joined: string): string[] {
  return joined === '' ? [] : joined.split(',');
}

function notARecord(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', 'Redis gave a session record that is not one');
}

function attributesOf(json: string | null): SessionAttributes {
  if (json === null || json === '') return {};
  let attributes: unknown;
  try {
    attributes = JSON.parse(json);
  } catch (cause) {
    throw new SessionError('ERR_STORE_CORRUPT', "this session's attributes in Redis are no JSON", { cause });
  }
  if (typeof attributes !== 'object' || attributes === null) throw notARecord();
  return attributes;
}

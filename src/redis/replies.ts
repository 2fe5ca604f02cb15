import { SessionError } from '../errors/session-error';
import type {
  EndedSession,
  Found,
  FoundData,
  SessionEntries,
  SessionRecord,
  SessionState,
  SessionStates,
  StoredAttributes,
  StoredBan,
  StoredSession,
  StoredUser,
} from '../store/store';
import { REGEXP } from './schema';
import { LATE } from './scripts/session';

/* Reads the answers of the scripts. The headers of the scripts describe them. */

/** The answer of a script on one session: the session, why it is over, or nothing. */
export type FoundReply = string | EndedReply | DataReply | null;

type EndedReply = [
  reason: string,
  message: string,
  userId: string,
  isDetected: string | number,
  isEndedNow: string | number,
];

/**
 * Of a verb on data: nothing in the place of a reason, the user id, the outcome. Of `touchWithData`: the session, then
 * its data.
 */
type DataReply = [session: string, ...rest: (string | null)[]];

const RECORD = new RegExp(`^${REGEXP.record}$`);
const FIELDS = 8;

/** A live session: `record;now`, the attributes, what is kept of the user info, and the user id, a line each. */
const SESSION = new RegExp(`^${REGEXP.record};(\\d+)\\n([^\\n]*)\\n(?:${REGEXP.userInfo}|[^\\n]*)\\n(.*)$`, 's');

const BAN = new RegExp(`^${REGEXP.ban}$`, 's');

/** The answer of a script that takes a deadline: the time, and when that was early enough the rest. */
export type TupleReply = [now: string | number, ...rest: string[]];

/** The answer of `list`. */
export type ListReply = [userId: string, now: number, ...columns: (string | null)[]] | null;

/** The session, or why there is none. */
export function parseFound(sid: string, reply: FoundReply): Found {
  if (reply === null) return null;
  if (typeof reply === 'string') return storedSession(sid, reply);
  return parseEnded(sid, reply as EndedReply);
}

/** The session with its data, or why there is none. */
export function parseFoundWithData(
  sid: string,
  reply: FoundReply,
): (StoredSession & { data: SessionEntries }) | EndedSession | null {
  if (!Array.isArray(reply) || !isSession(reply[0])) return parseFound(sid, reply) as EndedSession | null;
  const [session, ...entries] = reply as DataReply;
  return { ...storedSession(sid, session), data: parseEntries(entries) };
}

/** The outcome of a verb on data, or why there is no session. */
export function parseFoundData<Outcome>(
  sid: string,
  reply: FoundReply,
  parse: (outcome: readonly (string | null)[]) => Outcome,
): FoundData<Outcome> {
  if (!Array.isArray(reply) || reply[0] !== '') return parseFound(sid, reply) as EndedSession | null;
  const [, userId, ...outcome] = reply as DataReply;
  return { userId: userId as string, data: parse(outcome) };
}

/** Keys and their JSON, in turn. */
export function parseEntries(flat: readonly (string | null)[]): SessionEntries {
  const entries = new Map<string, string>();
  for (let i = 0; i < flat.length; i += 2) entries.set(flat[i] as string, flat[i + 1] as string);
  return entries;
}

/** Whether the script has ended the session for a reuse. */
export function isEndedNow(reply: FoundReply): boolean {
  return Array.isArray(reply) && Object.hasOwn(REASONS, reply[0]) && Number(reply[4]) === 1;
}

/** A reason has no line break. */
function isSession(text: string): boolean {
  return text.includes('\n');
}

function parseEnded(sid: string, [reason, message, userId, isDetected, isEndedNow]: EndedReply): EndedSession | null {
  // A reason of a later version of this package is unknown here.
  if (!isReason(reason)) return null;
  return {
    session: null,
    userId,
    sid,
    reason,
    message: message || null,
    isDetected: Number(isDetected) === 1,
    isEndedNow: Number(isEndedNow) === 1,
  };
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

/** The time at which a script on one session refused to judge a reuse; `null` when it did not. */
export function refusedAt(reply: FoundReply): number | null {
  return typeof reply === 'string' && reply.startsWith(LATE) ? Number(reply.slice(LATE.length)) : null;
}

/** Of the scripts on one session. */
export const FOUND_TIMING: Timing<FoundReply> = { refusedAt, answeredAt: () => null };

/** Of the scripts whose answers begin with the time, and hold nothing else when they came too late. */
export const TUPLE_TIMING: Timing<readonly (string | number)[]> = {
  refusedAt: (reply) => (reply.length === 1 ? Number(reply[0]) : null),
  answeredAt: (reply) => Number(reply[0]),
};

function storedSession(sid: string, reply: string): StoredSession {
  const match = SESSION.exec(reply);
  if (match === null) throw notARecord();
  const now = Number(match[FIELDS + 1]);
  const version = match[FIELDS + 3];
  const isExpired = Number(match[FIELDS + 4]) <= now;
  return {
    userId: match[FIELDS + 6] as string,
    session: recordOf(sid, match, match[FIELDS + 2] as string),
    now,
    userInfo: (!isExpired && match[FIELDS + 5]) || null,
    userInfoVersion: version === undefined ? now : Math.max(now, Number(version)),
  };
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

/** The answer of `states`. */
export type StatesReply = [now: string | number, userId: string, ...states: string[]];

/** The states of sessions, in the order of the ids. */
export function parseStates([now, userId, ...states]: StatesReply): SessionStates {
  return { userId: userId || null, now: Number(now), states: states.map(parseState) };
}

function parseState(text: string): SessionState {
  if (/^\d+$/.test(text)) return { isLive: true, expiresAt: Number(text) };
  const [, reason = '', message = ''] = /^(\w+):(.*)$/s.exec(text) ?? [];
  return { isLive: false, reason: isReason(reason) ? reason : 'unknown', message: message || null };
}

/** A session, of the record of it. */
export function parseRecord(sid: string, record: string, attributes: string | null): SessionRecord {
  const match = RECORD.exec(record);
  if (match === null) throw notARecord();
  return recordOf(sid, match, attributes);
}

/** A session, of a match that begins with the fields of its record. */
function recordOf(sid: string, match: readonly (string | undefined)[], attributes: string | null): SessionRecord {
  const createdAt = Number(match[1]);
  const isMoved = match[5] !== undefined;
  return {
    sid,
    createdAt,
    seenAt: Number(match[2]),
    ttlMs: Number(match[3]),
    capAt: Number(match[4]),
    gen: isMoved ? Number(match[5]) : 0,
    mintedAt: isMoved ? Number(match[6]) : createdAt,
    confirmedAt: isMoved ? Number(match[7]) : createdAt,
    provedAt: isMoved ? Number(match[8]) : createdAt,
    attributes: attributesOf(attributes),
  };
}

/** A ban, of the text of it. */
export function parseBan(userId: string, text: string): StoredBan {
  const [, since, until, reason] = BAN.exec(text) ?? [];
  if (since === undefined) throw notARecord();
  return { userId, since: Number(since), until: Number(until), reason: reason || null };
}

/** The ids in a list that a script has joined. */
export function idsIn(joined: string): string[] {
  return joined === '' ? [] : joined.split(',');
}

function notARecord(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', 'Redis gave a session record that is not one');
}

function attributesOf(json: string | null): StoredAttributes {
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

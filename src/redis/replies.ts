import { SessionError } from '../errors/session-error';
import {
  type EndedSession,
  expiryOf,
  type Found,
  type FoundData,
  judge,
  type ReusePolicy,
  type SessionEntries,
  type SessionRecord,
  type SessionState,
  type SessionStates,
  type StoredAttributes,
  type StoredBan,
  type StoredSession,
  type StoredUser,
} from '../store/store';
import { parseStored } from '../store/stored-json';
import type { TokenClaims } from '../token/token';
import { DAMAGED } from './client/errors';
import type { SessionEnd } from './revocations/revocations';
import { REGEXP } from './schema';

/* Reads the answers of the scripts. The headers of the scripts describe them. */

/** The answer of a script on one session: what is stored of it, `null` for nothing, or more than the session. */
export type FoundReply = string | EndedReply | DataReply | null;

type EndedReply = [seconds: string, microseconds: string, userId: string, record: string];

/** The mark of data; then the user id and the outcome of the verb, or of `touchWithData` the session and its data. */
type DataReply = [mark: '', userIdOrSession: string, ...outcome: (string | null)[]];

/** The token that a script was asked about. */
export interface Asked {
  claims: TokenClaims;
  policy: ReusePolicy;
}

const RECORD = new RegExp(`^${REGEXP.record}$`);
const FIELDS = 8;

/** A stored session: `record;time`, the attributes, what is kept of the user info, and the user id, a line each. */
const SESSION = new RegExp(`^${REGEXP.record};(\\d+) (\\d+)\\n([^\\n]*)\\n(?:${REGEXP.userInfo}|[^\\n]*)\\n(.*)$`, 's');

const ENDED = new RegExp(`^${REGEXP.ended}$`, 's');

const BAN = new RegExp(`^${REGEXP.ban}$`, 's');

/** The answer of a script that takes a deadline: the time, and when that was early enough the rest. */
export type TupleReply = [now: string | number, ...rest: string[]];

export type ListReply = [userId: string, now: number, ...columns: (string | null)[]] | null;

/** A reply that must be a list. A proxy that mixes up connections may have brought one of another command. */
export function listIn<Reply extends readonly unknown[]>(reply: Reply): Reply {
  if (Array.isArray(reply)) return reply;
  throw foreignReply();
}

/** A reply of a script that takes a deadline, or ends sessions. */
export function tupleIn(reply: TupleReply): TupleReply {
  const [now, ...rest] = listIn(reply);
  integerIn(now);
  if (rest.every((part) => typeof part === 'string')) return reply;
  throw foreignReply();
}

/** A reply that must be a whole number: as text where the client has the option `stringNumbers`. */
export function integerIn(reply: unknown): number {
  if (/^\d+$/.test(String(reply))) return Number(reply);
  throw foreignReply();
}

export function parseFound(asked: Asked, reply: FoundReply): Found {
  if (reply === null) return null;
  if (typeof reply === 'string') return judgeStored(asked, reply);
  return parseEnded(asked, listIn(reply as EndedReply));
}

export function parseFoundWithData(
  asked: Asked,
  reply: FoundReply,
): (StoredSession & { data: SessionEntries }) | EndedSession | null {
  if (!isDataReply(reply)) return withoutSession(parseFound(asked, reply));
  const [, text, ...entries] = reply;
  const found = judgeStored(asked, text);
  return found.session === null ? found : { ...found, data: parseEntries(entries) };
}

export function parseFoundData<Outcome>(
  asked: Asked,
  reply: FoundReply,
  parse: (outcome: readonly (string | null)[]) => Outcome,
): FoundData<Outcome> {
  if (!isDataReply(reply)) return withoutSession(parseFound(asked, reply));
  const [, userId, ...outcome] = reply;
  return { userId, data: parse(outcome) };
}

function isDataReply(reply: FoundReply): reply is DataReply {
  return Array.isArray(reply) && reply[0] === '';
}

/** A script that does nothing has found no live session. */
function withoutSession(found: Found): EndedSession | null {
  if (found !== null && found.session !== null) throw notARecord();
  return found;
}

export function parseEntries(flat: readonly (string | null)[]): SessionEntries {
  const entries = new Map<string, string>();
  for (let i = 0; i < flat.length; i += 2) entries.set(flat[i] as string, flat[i + 1] as string);
  return entries;
}

export function isReuse(found: Found | FoundData<unknown>): found is EndedSession {
  return found !== null && 'reason' in found && found.reason === 'reused' && found.isDetected;
}

function judgeStored({ claims, policy }: Asked, text: string): StoredSession | EndedSession {
  const stored = storedSession(claims.sid, text);
  const isExpired = expiryOf(stored.session) <= stored.now;
  if (!isExpired && judge(claims, stored.session, policy.graceMs, stored.now) !== 'reuse') return stored;
  return {
    session: null,
    userId: stored.userId,
    sid: claims.sid,
    reason: isExpired ? 'expired' : 'reused',
    message: null,
    isDetected: true,
    isEndedNow: false,
  };
}

function parseEnded({ claims: { sid } }: Asked, [seconds, micros, userId, record]: EndedReply): EndedSession | null {
  if (typeof record !== 'string') throw foreignReply();
  const [, until, reason = '', message = ''] = ENDED.exec(record) ?? [];
  if (until === undefined) throw notARecord();
  // A reason of a later version of this package is unknown here.
  if (Number(until) <= timeOf(seconds, micros) || !isReason(reason)) return null;
  return { session: null, userId, sid, reason, message: message || null, isDetected: false, isEndedNow: false };
}

/** Milliseconds of the words of TIME. */
function timeOf(seconds: string | undefined, microseconds: string | undefined): number {
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
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

function storedSession(sid: string, reply: string): StoredSession {
  const match = SESSION.exec(reply);
  // Scripts join what is stored by newlines, damaged or not.
  if (match === null) throw reply.includes('\n') ? notARecord() : foreignReply();
  const now = timeOf(match[FIELDS + 1], match[FIELDS + 2]);
  const isExpired = Number(match[FIELDS + 5]) <= now;
  return {
    userId: match[FIELDS + 7] as string,
    session: recordOf(sid, match, match[FIELDS + 3] as string),
    now,
    userInfo: (!isExpired && match[FIELDS + 6]) || null,
    userInfoVersion: Number(match[FIELDS + 4] ?? 0),
  };
}

export function parseList(reply: ListReply): StoredUser | null {
  if (reply === null) return null;
  const [userId, now, ...columns] = listIn(reply);
  if (typeof userId !== 'string') throw notARecord();
  const sessions: SessionRecord[] = [];
  for (let i = 0; i < columns.length; i += 3) {
    const [sid, record, attributes] = columns.slice(i, i + 3) as [string, string, string | null];
    sessions.push(parseRecord(sid, record, attributes));
  }
  return { userId, now: Number(now), sessions: sessions.sort((a, b) => a.createdAt - b.createdAt) };
}

export type StatesReply = [now: string | number, userId: string | null, ...states: string[]];

export function parseStates(reply: StatesReply): SessionStates {
  const [now, userId, ...states] = listIn(reply);
  return { userId, now: integerIn(now), states: states.map(parseState) };
}

function parseState(text: string): SessionState {
  if (/^\d+$/.test(text)) return { isLive: true, expiresAt: Number(text) };
  const [, reason = '', message = ''] = /^(\w+):(.*)$/s.exec(text) ?? [];
  return { isLive: false, reason: isReason(reason) ? reason : 'unknown', message: message || null };
}

export function parseRecord(sid: string, record: string, attributes: string | null): SessionRecord {
  const match = RECORD.exec(record);
  if (match === null) throw notARecord();
  return recordOf(sid, match, attributes);
}

/** A session, of a match that begins with the fields of its record. */
function recordOf(sid: string, match: readonly (string | undefined)[], attributes: string | null): SessionRecord {
  const createdAt = Number(match[1]);
  const hasToken = match[5] !== undefined;
  return {
    sid,
    createdAt,
    seenAt: Number(match[2]),
    ttlMs: Number(match[3]),
    capAt: Number(match[4]),
    gen: hasToken ? Number(match[5]) : 0,
    mintedAt: hasToken ? Number(match[6]) : createdAt,
    confirmedAt: hasToken ? Number(match[7]) : createdAt,
    provedAt: hasToken ? Number(match[8]) : createdAt,
    attributes: attributesOf(attributes),
  };
}

export function parseBan(userId: string, text: string): StoredBan {
  const [, since, until, reason] = BAN.exec(text) ?? [];
  if (since === undefined) throw notARecord();
  return { userId, since: Number(since), until: Number(until), reason: reason || null };
}

export function idsIn(joined: string): string[] {
  return joined === '' ? [] : joined.split(',');
}

/** Ends of sessions: each id and its moment, in turn. */
export function endsIn(joined: string): SessionEnd[] {
  const texts = idsIn(joined);
  return Array.from({ length: texts.length / 2 }, (_, i) => ({
    sid: texts[2 * i] as string,
    moment: Number(texts[2 * i + 1]),
  }));
}

function notARecord(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', DAMAGED);
}

/** The error of a reply that none of our scripts gives, whatever is stored. */
function foreignReply(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', "Redis's reply does not fit the call: it belongs to another command");
}

function attributesOf(json: string | null): StoredAttributes {
  if (json === null || json === '') return {};
  const attributes = parseStored(json, "this session's attributes in Redis are no JSON");
  if (typeof attributes !== 'object' || attributes === null) throw notARecord();
  return attributes;
}

import { types } from 'node:util';
import { SessionError, type SessionErrorCode } from '../../errors/session-error';
import { BANNED, CORRUPT, ENDED, LAYOUT, TOO_MANY } from '../scripts/parts';

/** An ACL that lacks a right. Inside a script, Redis says it without that word. */
const FORBIDDEN = /\bNOPERM\b|\bACL failure\b|The user executing the script can't/;
/** A command that was renamed, or that this Redis doesn't have. */
const UNKNOWN_COMMAND = /\bunknown (\w+ )?command\b/i;

/**
 * What Redis's own words mean for a session. Words, as they stand in an error reply: Redis 7 gives the code first, 6.2
 * puts it behind `ERR Error running script`. Whatever is in no row means that Redis doesn't serve us.
 */
const MEANINGS: readonly (readonly [word: RegExp, code: SessionErrorCode, message: string])[] = [
  [new RegExp(CORRUPT), 'ERR_STORE_CORRUPT', "this user's record in Redis is damaged; deleteUserToken removes it"],
  [/\bWRONGTYPE\b/, 'ERR_STORE_CORRUPT', "this user's key in Redis holds something that is not a record of sessions"],
  [
    new RegExp(LAYOUT),
    'ERR_STORE_LAYOUT',
    "this user's record in Redis was written by a newer version of tokensession",
  ],
  [new RegExp(BANNED), 'ERR_USER_BANNED', 'this user is banned: no session was started'],
  [new RegExp(TOO_MANY), 'ERR_TOO_MANY_SESSIONS', 'this user has as many sessions as they may: no other was started'],
  [new RegExp(ENDED), 'ERR_NO_SESSION', 'this session has ended: it was not started again'],
  [/\bOOM\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is out of memory and refused to write'],
  [/^Command timed out$/, 'ERR_STORE_TIMEOUT', 'Redis gave no answer within the commandTimeout of its client'],
  [/\bREADONLY\b/, 'ERR_STORE_UNAVAILABLE', 'this Redis is a replica: its master is elsewhere'],
  [/\bNOREPLICAS\b/, 'ERR_STORE_UNAVAILABLE', 'Redis has too few replicas to write, as min-replicas-to-write says'],
  [/\bMISCONF\b/, 'ERR_STORE_UNAVAILABLE', "Redis can't save to its disk and refuses to write"],
  [/\b(CLUSTERDOWN|MASTERDOWN)\b/, 'ERR_STORE_UNAVAILABLE', 'nobody serves this part of the Redis Cluster now'],
  [/\bLOADING\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is starting and still reads its data'],
  [/\bBUSY\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is busy with a script that runs for too long'],
  [/\bmax number of clients\b/, 'ERR_STORE_UNAVAILABLE', 'Redis has as many clients as its maxclients allows'],
  [/\bDENIED\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is in protected mode and serves its own machine only'],
  [/\b(NOAUTH|WRONGPASS)\b/, 'ERR_STORE_UNAVAILABLE', 'Redis refused our credentials'],
  [FORBIDDEN, 'ERR_STORE_UNAVAILABLE', 'Redis refused us a command, key or channel that we need'],
  [UNKNOWN_COMMAND, 'ERR_STORE_UNAVAILABLE', 'Redis does not know a command that we need'],
];

/** What ioredis says of a connection that it has lost, or never had: nothing of why. */
const CONNECTION_LOSSES = [
  /^Connection is closed\.$/,
  /^Reached the max retries per request limit/,
  /^Stream isn't writeable and enableOfflineQueue options is false$/,
  /^Cluster isn't ready and enableOfflineQueue options is false$/,
  /^Command aborted due to connection close$/,
  /^None of startup nodes is available$/,
  /^Failed to refresh slots cache\./,
];

/** Also an error of another realm, as Node's own are to code that runs in a `vm` context. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error;
}

/** A failure as the error that this package promises, with what Redis or ioredis said as the cause. */
export function sessionErrorOf(error: unknown, otherwise = 'Redis could not serve the call'): SessionError {
  const text = isError(error) ? error.message : '';
  const [, code, message] =
    MEANINGS.find(([word]) => word.test(text)) ?? ([null, 'ERR_STORE_UNAVAILABLE', otherwise] as const);
  return new SessionError(code, message, { cause: withoutArguments(error) });
}

/** Whether this only says that there is no connection, and not why. */
export function isConnectionLoss(error: unknown): boolean {
  return isError(error) && CONNECTION_LOSSES.some((words) => words.test(error.message));
}

/** Whether this says that the other end has closed a connection, and not why: it may have said so before. */
export function isBrokenConnection(error: unknown): boolean {
  return isError(error) && /\b(EPIPE|ECONNRESET)\b/.test(error.message);
}

/** Whether Redis refuses a command to us, or doesn't know it: a new connection would not help. */
export function isRefusal(error: unknown): boolean {
  if (!isError(error)) return false;
  return FORBIDDEN.test(error.message) || UNKNOWN_COMMAND.test(error.message) || isRefusal(error.cause);
}

/** Whether Redis answered, if only to refuse. Too many redirections of a Cluster are answers too. */
export function isErrorReply(error: unknown): boolean {
  return error instanceof Error && (error.name === 'ReplyError' || isRedirection(error));
}

/**
 * Whether the keys of a call are not all on one node, because their slot is just being moved. ioredis tries again, and
 * reports the error of its last try: being sent to and fro.
 */
export function isSplitSlot(error: unknown): boolean {
  return error instanceof Error && (/\bTRYAGAIN\b/.test(error.message) || isRedirection(error));
}

function isRedirection(error: Error): boolean {
  return error.message.startsWith('Too many Cluster redirections');
}

/** Whether this is Redis's refusal to give us the database we asked for. */
export function isRefusedDatabase(error: unknown): boolean {
  return error instanceof Error && (error as { command?: { name?: unknown } }).command?.name === 'select';
}

/**
 * A copy of what ioredis reports without what it was asked to send: user info, attributes, and at the handshake the
 * password. ioredis hangs the command on its errors, and Redis repeats the arguments of a command that it doesn't know.
 */
export function withoutArguments(error: unknown): unknown {
  if (!isError(error)) return error;
  const { code, command, errors, lastNodeError } = error as Partial<
    Record<'code' | 'errors' | 'lastNodeError', unknown> & { command: { name?: unknown } }
  >;
  // Node's AggregateError, for a name with several addresses, has a message only in each of its parts; what ioredis
  // says of a whole Cluster says why only of the last node.
  const parts = (Array.isArray(errors) ? errors : [lastNodeError]).filter(isError);
  const message = [error.message, ...parts.map((part) => part.message)]
    .filter((text) => text !== '')
    .join(' ')
    .replace(/,? with args beginning with:.*/s, '');
  const stack = error.stack?.slice(Math.max(0, error.stack.indexOf('\n    at '))) ?? '';
  const copy = new Error(message);
  copy.name = error.name;
  copy.stack = `${error.name}: ${message}${stack.startsWith('\n') ? stack : ''}`;
  return Object.assign(copy, code !== undefined && { code }, command && { command: { name: command.name } });
}

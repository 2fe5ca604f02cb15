import { types } from 'node:util';
import { SessionError, type SessionErrorCode } from '../../errors/session-error';
import { START_REFUSALS } from '../../errors/start-refusal';

/** An ACL that lacks a right. Inside a script, Redis words it differently. */
const FORBIDDEN = /\bNOPERM\b|\bACL failure\b|The user executing the script can't/;
/** A renamed command, or one that this Redis doesn't have. */
const UNKNOWN_COMMAND = /\bunknown (\w+ )?command\b/i;

export const DAMAGED = "this user's record in Redis is damaged; deleteUserToken removes it";

/** The messages for the errors of our own scripts, by their codes. */
const OF_SCRIPTS = {
  ERR_STORE_CORRUPT: DAMAGED,
  ERR_STORE_LAYOUT: "this user's record in Redis was written by a newer version of tokensession",
  ...START_REFUSALS,
};

/**
 * The messages for Redis's own error words. Redis 7 puts the code first, 6.2 behind `ERR Error running script`. An
 * error in no row means that Redis doesn't serve us.
 */
const MEANINGS: readonly (readonly [word: RegExp, code: SessionErrorCode, message: string])[] = [
  ...Object.entries(OF_SCRIPTS).map(
    ([code, message]) => [new RegExp(`\\bTOKENSESSION ${code}\\b`), code as SessionErrorCode, message] as const,
  ),
  [/\bWRONGTYPE\b/, 'ERR_STORE_CORRUPT', "this user's key in Redis holds something that is not a record of sessions"],
  [/\bOOM\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is out of memory and refused to write'],
  [/^Command timed out$/, 'ERR_STORE_TIMEOUT', 'Redis gave no answer within the commandTimeout of its client'],
  [/\bREADONLY\b/, 'ERR_STORE_UNAVAILABLE', 'this Redis is a replica: its master is elsewhere'],
  [/\bNOREPLICAS\b/, 'ERR_STORE_UNAVAILABLE', 'Redis has too few replicas to write, as min-replicas-to-write says'],
  [/\bMISCONF\b/, 'ERR_STORE_UNAVAILABLE', "Redis can't save to its disk and refuses to write"],
  [/\b(CLUSTERDOWN|MASTERDOWN)\b/, 'ERR_STORE_UNAVAILABLE', 'no node serves this part of the Redis Cluster now'],
  [/\bLOADING\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is starting and still reads its data'],
  [/\bBUSY\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is busy with a script that runs for too long'],
  [/\bmax number of clients\b/, 'ERR_STORE_UNAVAILABLE', 'Redis has as many clients as its maxclients allows'],
  [/\bDENIED\b/, 'ERR_STORE_UNAVAILABLE', 'Redis is in protected mode and serves its own machine only'],
  [/\b(NOAUTH|WRONGPASS)\b/, 'ERR_STORE_UNAVAILABLE', 'Redis refused our credentials'],
  [FORBIDDEN, 'ERR_STORE_UNAVAILABLE', 'Redis refused us a command, key or channel that we need'],
  [UNKNOWN_COMMAND, 'ERR_STORE_UNAVAILABLE', 'Redis does not know a command that we need'],
];

/** Errors for a missing connection, which give no reason. */
const CONNECTION_LOSSES = [
  /^Connection is closed\.$/,
  /^Reached the max retries per request limit/,
  /^Stream isn't writeable and enableOfflineQueue options is false$/,
  /^Cluster isn't ready and enableOfflineQueue options is false$/,
  /^Command aborted due to connection close$/,
  /^None of startup nodes is available$/,
  /^Failed to refresh slots cache\./,
  // The answer of a server with OpenSSL 3 to a client, such as ours, that ends the connection during the handshake.
  /\balert decode error\b/,
];

/** Also accepts errors of another realm, such as Node's own for code in a `vm` context. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error;
}

/** What an error says, and in brackets what its cause says, if known. */
export function wordsOf(error: unknown): string {
  if (!isError(error)) return String(error);
  return isError(error.cause) ? `${error.message} (${error.cause.message})` : error.message;
}

/** The {@link SessionError} for a failure, with the words of Redis or ioredis as its cause. */
export function sessionErrorOf(error: unknown, otherwise = 'Redis could not serve the call'): SessionError {
  const text = isError(error) ? error.message : '';
  const [, code, message] =
    MEANINGS.find(([word]) => word.test(text)) ?? ([null, 'ERR_STORE_UNAVAILABLE', otherwise] as const);
  return new SessionError(code, message, { cause: withoutArguments(error) });
}

/** Whether an error says only that there is no connection, without a reason. */
export function isConnectionLoss(error: unknown): boolean {
  return isError(error) && CONNECTION_LOSSES.some((words) => words.test(error.message));
}

/** The error for a lost connection whose reason is not known. */
export function lostForNoKnownReason(): Error {
  return new Error('the connection was closed without a reason');
}

/**
 * Whether an error says that the other end closed the connection, without a reason. The other end may have given one
 * before.
 */
export function isBrokenConnection(error: unknown): boolean {
  return isError(error) && /\b(EPIPE|ECONNRESET)\b/.test(error.message);
}

/** Whether Redis refuses a command or doesn't know it. A new connection would not help. */
export function isRefusal(error: unknown): boolean {
  if (!isError(error)) return false;
  return FORBIDDEN.test(error.message) || UNKNOWN_COMMAND.test(error.message) || isRefusal(error.cause);
}

/** Whether Redis answered, also with a refusal. Too many redirections of a Cluster are answers, too. */
export function isErrorReply(error: unknown): boolean {
  return error instanceof Error && (error.name === 'ReplyError' || isRedirection(error));
}

/**
 * Whether the keys of a call are on two nodes, because their slot is moving. ioredis tries again, and reports the error
 * of its last try: too many redirections.
 */
export function isSplitSlot(error: unknown): boolean {
  return error instanceof Error && (/\bTRYAGAIN\b/.test(error.message) || isRedirection(error));
}

function isRedirection(error: Error): boolean {
  return error.message.startsWith('Too many Cluster redirections');
}

/** Whether Redis refuses the configured database. */
export function isRefusedDatabase(error: unknown): boolean {
  return error instanceof Error && (error as { command?: { name?: unknown } }).command?.name === 'select';
}

/**
 * A copy of an ioredis error without the arguments of its command: user info, attributes and, at the handshake, the
 * password. ioredis attaches the command to its errors, and Redis repeats the arguments of an unknown command.
 */
export function withoutArguments(error: unknown): unknown {
  if (!isError(error)) return error;
  const { code, command, errors, lastNodeError } = error as Partial<
    Record<'code' | 'errors' | 'lastNodeError', unknown> & { command: { name?: unknown } }
  >;
  // Node's AggregateError, for a name with several addresses, has messages in its parts only. ioredis's error for a
  // whole Cluster has the reason of the last node only.
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

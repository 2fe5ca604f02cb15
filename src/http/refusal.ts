/* The refusals of requests and logins. */
import { SessionError } from '../errors/session-error';
import type { Ending } from '../manager/types';

/** The answer to a request that a guard refuses. */
export interface Refusal {
  status: number;
  /** `Vary` is added to the response's own. */
  headers: Record<string, string>;
  body: { error: string } & Partial<Ending>;
}

/** What a guard gives: an answer, an error for the host's error path, or `null` for a request that may go on. */
export type GuardVerdict = Refusal | Error | null;

/**
 * @param challenge the value of `WWW-Authenticate`; `undefined` where HTTP has no scheme for the tokens' header.
 * @param ending `null` when no signed token came.
 */
export function unauthenticated(challenge: string | undefined, ending: Ending | null): Refusal {
  return { status: 401, headers: challengeHeaders(challenge), body: { error: 'unauthenticated', ...ending } };
}

/** The user is signed in, but the last proof is too old. */
export function reauthenticationRequired(): Refusal {
  return { status: 403, headers: {}, body: { error: 'reauthentication_required' } };
}

/** A 401 of the core with the challenge (RFC 9110, 15.5.2), which the core doesn't know; any other error as it is. */
export function withChallenge(error: SessionError, challenge: string | undefined): SessionError {
  if (challenge === undefined || error.status !== 401 || error.headers !== undefined) return error;
  return new SessionError(error.code, error.message, { cause: error, headers: challengeHeaders(challenge) });
}

/** @param what would have set the cookie. */
export function headersSent(what: string): SessionError {
  const reason = 'the response had begun, or its client had gone: its cookie could not be set (an await missing?)';
  return new SessionError('ERR_HEADERS_SENT', `${what} came after ${reason}`);
}

export function signalTooLate(): SessionError {
  const message = 'session.signal came after the response was committed: nothing would end its watch';
  return new SessionError('ERR_HEADERS_SENT', message);
}

export function tokenConflict(): SessionError {
  const message = 'the request has cookies of several users, or of too many sessions: a login or a logout clears them';
  return new SessionError('ERR_TOKEN_CONFLICT', message);
}

function challengeHeaders(challenge: string | undefined): Record<string, string> {
  return challenge === undefined ? {} : { 'WWW-Authenticate': challenge };
}

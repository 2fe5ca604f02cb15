/* How requests and logins are turned away. */
import { SessionError } from '../errors/session-error';
import type { EndReason } from '../store/store';

/** The answer to a request that may not go on. */
export interface Refusal {
  status: number;
  /** `Vary` adds to what the response varies on already. */
  headers: Record<string, string>;
  body: { error: string; reason?: EndReason; message?: string };
}

/** Why the session of the token that came has ended. */
export interface Ending {
  reason: EndReason;
  message?: string;
}

/**
 * @param challenge what `WWW-Authenticate` says; `undefined` where HTTP has no scheme for the tokens' header.
 * @param ending `null` when no token of ours came.
 */
export function unauthenticated(challenge: string | undefined, ending: Ending | null): Refusal {
  return { status: 401, headers: challengeHeaders(challenge), body: { error: 'unauthenticated', ...ending } };
}

/** The user is signed in, but proved who they are too long ago. */
export function reauthenticationRequired(): Refusal {
  return { status: 403, headers: {}, body: { error: 'reauthentication_required' } };
}

/** A failed login's error; a 401 says how to authenticate (RFC 9110, 15.5.2), which the core doesn't know. */
export function loginError(error: unknown, challenge: string | undefined): unknown {
  if (challenge === undefined || !(error instanceof SessionError) || error.status !== 401) return error;
  return new SessionError(error.code, error.message, { cause: error, headers: challengeHeaders(challenge) });
}

/** @param call what came too late. */
export function headersSent(call: string): SessionError {
  const message = `${call}() came after the response had begun, or its client had gone: its cookie could not be set`;
  return new SessionError('ERR_HEADERS_SENT', message);
}

export function tokenConflict(): SessionError {
  const message = 'cookies of several users came, or of too many sessions: a login, or a logout, clears them';
  return new SessionError('ERR_TOKEN_CONFLICT', message);
}

function challengeHeaders(challenge: string | undefined): Record<string, string> {
  return challenge === undefined ? {} : { 'WWW-Authenticate': challenge };
}

/* How requests and logins are turned away. */
import { SessionError } from '../core/errors';

/** The answer to a request that somebody has to be signed in for. */
export interface Refusal {
  status: number;
  headers: Record<string, string>;
  body: { error: string };
}

/** @param challenge what `WWW-Authenticate` says; `undefined` where HTTP has no scheme for the tokens' header. */
export function unauthenticated(challenge: string | undefined): Refusal {
  return { status: 401, headers: challengeHeaders(challenge), body: { error: 'unauthenticated' } };
}

/** A failed login's error; a 401 says how to authenticate (RFC 9110, 15.5.2), which the core doesn't know. */
export function loginError(error: unknown, challenge: string | undefined): unknown {
  if (challenge === undefined || !(error instanceof SessionError) || error.status !== 401) return error;
  return new SessionError(error.code, error.message, { cause: error, headers: challengeHeaders(challenge) });
}

export function headersSent(): SessionError {
  return new SessionError('ERR_HEADERS_SENT', 'login() came after the response had begun: its cookie could not be set');
}

function challengeHeaders(challenge: string | undefined): Record<string, string> {
  return challenge === undefined ? {} : { 'WWW-Authenticate': challenge };
}

/* The errors that only a request can have. */
import { SessionError } from '../errors/session-error';

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

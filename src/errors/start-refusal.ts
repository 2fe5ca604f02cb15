import { SessionError } from './session-error';

/** Why a store starts no session, by the code of the error. A store that fails has other codes. */
export const START_REFUSALS = {
  ERR_USER_BANNED: 'this user is banned: no session was started',
  ERR_TOO_MANY_SESSIONS: 'this user has the maximum number of sessions: no session was started',
  ERR_NO_SESSION: 'this session has ended: it was not started again',
} as const;

export function startRefusal(code: keyof typeof START_REFUSALS): SessionError {
  return new SessionError(code, START_REFUSALS[code]);
}

export function isStartRefusal(error: unknown): boolean {
  return error instanceof SessionError && Object.hasOwn(START_REFUSALS, error.code);
}

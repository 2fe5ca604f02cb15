import { SECRET, TTL } from './contestants';

/** iron-session's sessions: all in the cookie, encrypted and signed. */
export const IRON_OPTIONS = {
  password: SECRET,
  cookieName: 'session',
  ttl: TTL,
  cookieOptions: { secure: false },
};

export interface SealedUser {
  userId?: string;
}

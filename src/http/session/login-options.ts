import { checkBoolean, checkText, kindOf, optional, type Read, type Readers } from '../../errors/arguments';
import { CREATE_OPTIONS, type CreateSessionOptions } from '../../manager/call-options';
import { MAX_DATA_KEYS } from '../../store/limits';
import { checkAttributes } from '../../store/session-attributes';
import type { SessionAttributes } from '../../store/store';

/** Options of `login()`. */
export interface LoginOptions extends Omit<CreateSessionOptions, 'attributes' | 'replaces'> {
  /**
   * Attributes to store with the session, besides `ip` and `userAgent` of the request. Pass
   * `{ ip: undefined, userAgent: undefined }` to store neither. Default: those two.
   */
  attributes?: SessionAttributes | undefined;
  /**
   * Keys of session data to copy into the new session. The source is the session of the request: a visitor's, or one of
   * the same user. What other requests write to them during the login goes along. Default: none, because an attacker
   * may have planted data before the login.
   */
  keep?: readonly string[] | undefined;
  /**
   * Whether the browser keeps the cookie after it is closed, also after rotations. The session's time to live is the
   * same either way. Default true.
   */
  persistent?: boolean | undefined;
}

const { replaces: _, ...CREATE } = CREATE_OPTIONS;

export const LOGIN_OPTIONS = {
  ...CREATE,
  attributes: readAttributes,
  keep: optional(checkKeys, [] as readonly string[]),
  persistent: optional(checkBoolean, true),
} satisfies Readers<LoginOptions>;

export type CheckedLoginOptions = Read<typeof LOGIN_OPTIONS>;

function checkKeys(name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError(`${name} must be an array of keys, got ${kindOf(value)}`);
  if (value.length > MAX_DATA_KEYS) throw new RangeError(`${name} must have at most ${MAX_DATA_KEYS} keys`);
  return Array.from(value, (key: unknown, index) => checkText(`${name}[${index}]`, key));
}

/** Keeps an attribute that is present but `undefined`: it says not to take the attribute from the request. */
function readAttributes(name: string, value: unknown): SessionAttributes | undefined {
  checkAttributes(name, value);
  return value as SessionAttributes | undefined;
}

/** Options of `logout()`. */
export interface LogoutOptions {
  /** Whether all sessions of the user end, not only this one. Default false. */
  everywhere?: boolean | undefined;
}

export const LOGOUT_OPTIONS = { everywhere: optional(checkBoolean, false) } satisfies Readers<LogoutOptions>;

export type CheckedLogoutOptions = Read<typeof LOGOUT_OPTIONS>;

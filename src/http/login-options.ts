import {
  checkBoolean,
  checkSeconds,
  checkText,
  kindOf,
  optional,
  type Readers,
  readOptions,
} from '../errors/arguments';
import { MAX_DATA_KEYS } from '../store/limits';
import { checkActor, checkAttributes } from '../store/session-attributes';
import type { SessionAttributes } from '../store/store';

/** Options of `login()`. */
export interface LoginOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /**
   * Seconds since login after which the session ends, however busy it is. Default: the manager's `absoluteTtl`; the
   * sooner of both counts.
   */
  absoluteTtl?: number | undefined;
  /**
   * Attributes to keep with the session. Default: `ip` and `userAgent` of the request. Pass `undefined` for them to
   * keep neither.
   */
  attributes?: SessionAttributes | undefined;
  /**
   * Who acts as this user: a member of support, for example. `req.session.actor`, lists and the event `login` show it,
   * and `requireRecentLogin` refuses the session. Default: none, the user. 1 to 512 characters.
   */
  actor?: string | undefined;
  /**
   * Keys of session data to carry into the new session: from the visitor's session, or from a session of the same user
   * that this login replaces, as they are when the login begins. Default: none, so that data planted before the login
   * does not become the user's.
   */
  keep?: readonly string[] | undefined;
  /**
   * Whether the browser keeps the cookie when it is closed, also after rotations. The session lives as long either way.
   * Default true.
   */
  persistent?: boolean | undefined;
}

const LOGIN_OPTIONS = {
  ttl: optional(checkSeconds, undefined),
  absoluteTtl: optional(checkSeconds, undefined),
  attributes: readAttributes,
  actor: optional(checkActor, undefined),
  keep: optional(checkKeys, [] as readonly string[]),
  persistent: optional(checkBoolean, true),
} satisfies Readers<LoginOptions>;

export function checkLoginOptions(options: LoginOptions | undefined) {
  return readOptions('login', options, LOGIN_OPTIONS, '');
}

function checkKeys(name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError(`${name} must be an array of keys, got ${kindOf(value)}`);
  if (value.length > MAX_DATA_KEYS) throw new RangeError(`${name} must have at most ${MAX_DATA_KEYS} keys`);
  return Array.from(value, (key: unknown, index) => checkText(`${name}[${index}]`, key));
}

/** Keeps an attribute that is present but `undefined`: it says not to take the attribute from the request. */
function readAttributes(_name: string, value: unknown): SessionAttributes | undefined {
  checkAttributes(value as SessionAttributes | undefined);
  return value as SessionAttributes | undefined;
}

/** Options of `logout()`. */
export interface LogoutOptions {
  /** Whether all sessions of the user end, not only this one. Default false. */
  everywhere?: boolean | undefined;
}

const LOGOUT_OPTIONS = { everywhere: optional(checkBoolean, false) } satisfies Readers<LogoutOptions>;

export function checkLogoutOptions(options: LogoutOptions | undefined) {
  return readOptions('logout', options, LOGOUT_OPTIONS, '');
}

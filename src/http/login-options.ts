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

export interface LoginOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /**
   * Seconds after which it ends, no matter how busy. The manager's `absoluteTtl` counts if that is sooner, and is the
   * default.
   */
  absoluteTtl?: number | undefined;
  /** Kept with the session. `ip` and `userAgent` are taken from the request unless given; `undefined` keeps neither. */
  attributes?: SessionAttributes | undefined;
  /**
   * Who acts as this user, a member of support say: shown as `req.session.actor`, in lists and in the event `login`.
   * `requireRecentLogin` refuses such a session. Default: none, the user. 1 to 512 characters.
   */
  actor?: string | undefined;
  /**
   * Keys of the data to carry into the new session: of the visitor, or of this very user's session that this one
   * replaces. Default: none, so that nothing that was planted before the login becomes the user's.
   */
  keep?: readonly string[] | undefined;
  /**
   * Whether the browser keeps the cookie when it is closed; later rotations of its token keep that choice. Default
   * true. The session itself lives as long either way.
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

/** As they were given: one that is there but `undefined` says that it is not to be taken from the request. */
function readAttributes(_name: string, value: unknown): SessionAttributes | undefined {
  checkAttributes(value as SessionAttributes | undefined);
  return value as SessionAttributes | undefined;
}

export interface LogoutOptions {
  /** Whether all sessions of the user end, not this one alone. Default false. */
  everywhere?: boolean | undefined;
}

const LOGOUT_OPTIONS = { everywhere: optional(checkBoolean, false) } satisfies Readers<LogoutOptions>;

export function checkLogoutOptions(options: LogoutOptions | undefined) {
  return readOptions('logout', options, LOGOUT_OPTIONS, '');
}

import { checkBoolean, checkSeconds, optional, type Readers, readOptions } from '../errors/arguments';
import { checkAttributes } from '../store/session-attributes';
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
   * Whether the browser keeps the cookie when it is closed; later rotations of its token keep that choice. Default
   * true. The session itself lives as long either way.
   */
  persistent?: boolean | undefined;
}

const LOGIN_OPTIONS = {
  ttl: optional(checkSeconds, undefined),
  absoluteTtl: optional(checkSeconds, undefined),
  attributes: readAttributes,
  persistent: optional(checkBoolean, true),
} satisfies Readers<LoginOptions>;

export function checkLoginOptions(options: LoginOptions | undefined) {
  return readOptions('login', options, LOGIN_OPTIONS, '');
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

import {
  checkBoolean,
  checkSeconds,
  optional,
  type Read,
  type Reader,
  type Readers,
  readOptions,
} from '../errors/arguments';
import { checkAttributes } from '../store/session-attributes';
import type { SessionAttributes } from '../store/store';

export interface LoginOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /** Seconds after which it ends, no matter how busy. The manager's `absoluteTtl` counts if that is sooner, and is the default. */
  absoluteTtl?: number | undefined;
  /** Kept with the session. `ip` and `userAgent` are taken from the request unless given; `undefined` keeps neither. */
  attributes?: SessionAttributes | undefined;
  /** Whether the cookie outlives the browser's session ("remember me"). Rotations keep it so. Default true. */
  persistent?: boolean | undefined;
}

/** As they were given: one that is there but `undefined` is not to be taken from the request. */
const readAttributes: Reader<SessionAttributes> = (_name, value) => {
  checkAttributes(value as SessionAttributes | undefined);
  return { ...(value as SessionAttributes | undefined) };
};

const LOGIN = {
  ttl: optional(checkSeconds, undefined),
  absoluteTtl: optional(checkSeconds, undefined),
  attributes: readAttributes,
  persistent: optional(checkBoolean, true),
} satisfies Readers<LoginOptions>;

export function checkLoginOptions(options: LoginOptions | undefined): Read<typeof LOGIN> {
  return readOptions('login', options, LOGIN, '');
}

export interface LogoutOptions {
  /** Whether all sessions of the user end, not this one alone. Default false. */
  everywhere?: boolean | undefined;
}

const LOGOUT = { everywhere: optional(checkBoolean, false) } satisfies Readers<LogoutOptions>;

export function checkLogoutOptions(options: LogoutOptions | undefined): Read<typeof LOGOUT> {
  return readOptions('logout', options, LOGOUT, '');
}

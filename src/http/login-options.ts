import { checkBoolean, checkOptions } from '../errors/arguments';
import { checkAttributes } from '../store/session-attributes';
import type { SessionAttributes } from '../store/store';

export interface LoginOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /** Seconds after which it ends, no matter how busy. The manager's `absoluteTtl` counts if that is sooner, and is the default. */
  absoluteTtl?: number | undefined;
  /** Kept with the session. `ip` and `userAgent` are taken from the request unless given; `undefined` keeps neither. */
  attributes?: SessionAttributes | undefined;
  /**
   * Whether the browser keeps the cookie when it is closed; later rotations of its token keep that choice. Default true. The session itself
   * lives as long either way.
   */
  persistent?: boolean | undefined;
}

const LOGIN_OPTIONS: Record<keyof LoginOptions, true> = {
  ttl: true,
  absoluteTtl: true,
  attributes: true,
  persistent: true,
};

/** `attributes` as they were given: one that is there but `undefined` says that it is not to be taken from the request. */
export function checkLoginOptions(options: LoginOptions | undefined): Partial<LoginOptions> & { persistent: boolean } {
  const given = checkOptions('login', options, LOGIN_OPTIONS);
  const { persistent = true } = given;
  checkAttributes(given.attributes);
  return { ...given, persistent: checkBoolean('persistent', persistent) };
}

export interface LogoutOptions {
  /** Whether all sessions of the user end, not this one alone. Default false. */
  everywhere?: boolean | undefined;
}

const LOGOUT_OPTIONS: Record<keyof LogoutOptions, true> = { everywhere: true };

export function checkLogoutOptions(options: LogoutOptions | undefined): { everywhere: boolean } {
  const { everywhere = false } = checkOptions('logout', options, LOGOUT_OPTIONS);
  return { everywhere: checkBoolean('everywhere', everywhere) };
}

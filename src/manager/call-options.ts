/*
 * What the calls of a manager can be told. Each check throws a TypeError or RangeError that names what is wrong.
 */
import { checkBoolean, checkMessage, checkOptions, checkSeconds, kindOf } from '../errors/arguments';
import { checkAttributes } from '../store/session-attributes';
import type { SessionAttributes } from '../store/store';

export interface CreateSessionOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /** Seconds after which it ends, no matter how busy. The manager's `absoluteTtl` counts if that is sooner, and is the default. */
  absoluteTtl?: number | undefined;
  /** Where it was started, to show to the user. Default: none. */
  attributes?: SessionAttributes | undefined;
  /** Tokens that die with this login, whoever they belong to. Default: none. */
  replaces?: readonly string[] | undefined;
}

const CREATE_OPTIONS: Record<keyof CreateSessionOptions, true> = {
  ttl: true,
  absoluteTtl: true,
  attributes: true,
  replaces: true,
};

export function checkCreateOptions(options: CreateSessionOptions | undefined): Partial<CreateSessionOptions> {
  const given = checkOptions('createSession', options, CREATE_OPTIONS);
  if (given.ttl !== undefined) checkSeconds('ttl', given.ttl);
  if (given.absoluteTtl !== undefined) checkSeconds('absoluteTtl', given.absoluteTtl);
  if (given.replaces !== undefined && !Array.isArray(given.replaces)) {
    throw new TypeError(`replaces must be an array of tokens, got ${kindOf(given.replaces)}`);
  }
  return { ...given, attributes: checkAttributes(given.attributes) };
}

export interface InspectTokenOptions {
  /** Whether this is a use of the session: then it does what `touchToken` does, else what `checkToken` does. Default false. */
  touch?: boolean | undefined;
  /** With `touch`: seconds to keep user info that has to be loaded. Default: the option `userInfoTtl`. */
  userInfoTtl?: number | undefined;
  /** Whether the near cache may answer. Default true. */
  cache?: boolean | undefined;
}

const INSPECT_OPTIONS: Record<keyof InspectTokenOptions, true> = { touch: true, userInfoTtl: true, cache: true };

export function checkInspectOptions(options: InspectTokenOptions | undefined): InspectTokenOptions {
  const given = checkOptions('inspectToken', options, INSPECT_OPTIONS);
  if (given.touch !== undefined) checkBoolean('touch', given.touch);
  if (given.userInfoTtl !== undefined) checkSeconds('userInfoTtl', given.userInfoTtl);
  if (given.cache !== undefined) checkBoolean('cache', given.cache);
  return given;
}

export interface RevokeOptions {
  /** What to tell whoever uses a token of it afterwards, 1 to 256 characters. Default: nothing but that it was revoked. */
  message?: string | undefined;
}

const REVOKE_OPTIONS: Record<keyof RevokeOptions, true> = { message: true };

export function checkRevokeOptions(options: RevokeOptions | undefined): { message: string | null } {
  return { message: checkMessage('message', checkOptions('deleteSession', options, REVOKE_OPTIONS).message) };
}

export interface DeleteUserTokenOptions extends RevokeOptions {
  /**
   * The token, or the id, of a session to keep: "log out my other devices". One that names no live session of this user keeps none.
   * Default, or `null`: none.
   */
  except?: string | null | undefined;
}

const DELETE_OPTIONS: Record<keyof DeleteUserTokenOptions, true> = { except: true, message: true };

export function checkDeleteOptions(options: DeleteUserTokenOptions | undefined): {
  except: string | null;
  message: string | null;
} {
  const { except = null, message } = checkOptions('deleteUserToken', options, DELETE_OPTIONS);
  if (except !== null && typeof except !== 'string') {
    throw new TypeError(`except must be a token or a session id, got ${kindOf(except)}`);
  }
  return { except, message: checkMessage('message', message) };
}

export interface BanUserOptions {
  /** Seconds that the ban lasts. Default: until `unbanUser`. */
  seconds?: number | undefined;
  /** What to tell whoever uses a token of theirs, 1 to 256 characters. Default: nothing but that they are banned. */
  reason?: string | undefined;
}

const BAN_OPTIONS: Record<keyof BanUserOptions, true> = { seconds: true, reason: true };

export function checkBanOptions(options: BanUserOptions | undefined): {
  durationMs: number | null;
  reason: string | null;
} {
  const { seconds, reason } = checkOptions('banUser', options, BAN_OPTIONS);
  return {
    durationMs: seconds === undefined ? null : 1000 * checkSeconds('seconds', seconds),
    reason: checkMessage('reason', reason),
  };
}

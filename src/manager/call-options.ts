/* Options of a manager's methods. */
import { checkBoolean, checkSeconds, kindOf, optional, type Readers, text } from '../errors/arguments';
import { checkAttributes, MAX_ATTRIBUTE_LENGTH } from '../store/session-attributes';
import type { SessionAttributes } from '../store/store';

/** Options of `createSession`. */
export interface CreateSessionOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /**
   * Seconds after the login at which the session ends, even when it is in use. The manager's `absoluteTtl` also
   * applies: the shorter one counts. Default: the manager's alone.
   */
  absoluteTtl?: number | undefined;
  /** Where the session was started, to show to the user. Default: none. */
  attributes?: SessionAttributes | undefined;
  /**
   * Who acts as this user: a member of support, for example. `req.session.actor`, lists and the event `login` show it.
   * `requireRecentLogin` always refuses such a session. 1 to 512 characters. Default: none.
   */
  actor?: string | undefined;
  /** Tokens whose sessions end with this login, also sessions of other users. Default: none. */
  replaces?: readonly string[] | undefined;
}

export const CREATE_OPTIONS = {
  ttl: optional(checkSeconds, undefined),
  absoluteTtl: optional(checkSeconds, undefined),
  attributes: checkAttributes,
  actor: optional(text(MAX_ATTRIBUTE_LENGTH), undefined),
  replaces: optional(checkTokens, [] as readonly unknown[]),
} satisfies Readers<CreateSessionOptions>;

function checkTokens(name: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError(`${name} must be an array of tokens, got ${kindOf(value)}`);
  return value;
}

/** Options of `inspectToken`. */
export interface InspectTokenOptions {
  /**
   * Whether this is a use of the session, which slides it and loads user info as `touchToken` does. Default false, as
   * `checkToken`.
   */
  touch?: boolean | undefined;
  /** With `touch`: seconds to cache user info that has to be loaded. Default: the option `userInfoTtl`. */
  userInfoTtl?: number | undefined;
  /** Whether the near cache may answer. Default true. */
  cache?: boolean | undefined;
}

export const INSPECT_OPTIONS = {
  touch: optional(checkBoolean, false),
  userInfoTtl: optional(checkSeconds, undefined),
  cache: optional(checkBoolean, true),
} satisfies Readers<InspectTokenOptions>;

/** Options of `deleteSession`. */
export interface RevokeOptions {
  /** A message for clients that use a token of the session afterwards. Default: none. 1 to 256 characters. */
  message?: string | undefined;
}

const readMessage = optional(text(256), null);

export const REVOKE_OPTIONS = { message: readMessage } satisfies Readers<RevokeOptions>;

/** Options of `deleteUserToken`. */
export interface DeleteUserTokenOptions extends RevokeOptions {
  /**
   * The token or id of a session to keep, for "log out my other devices". A value that names no live session of this
   * user keeps none. Default, or `null`: none.
   */
  except?: string | null | undefined;
}

export const DELETE_OPTIONS = { ...REVOKE_OPTIONS, except: checkExcept } satisfies Readers<DeleteUserTokenOptions>;

function checkExcept(name: string, value: unknown): string | null {
  const except = value ?? null;
  if (except === null || typeof except === 'string') return except;
  throw new TypeError(`${name} must be a token or a session id, got ${kindOf(except)}`);
}

/** Options of `banUser`. */
export interface BanUserOptions {
  /** Seconds the ban lasts. Default: until `unbanUser`. */
  seconds?: number | undefined;
  /** A message for clients that use a token of an ended session. Default: none. 1 to 256 characters. */
  reason?: string | undefined;
}

export const BAN_OPTIONS = {
  seconds: optional(checkSeconds, null),
  reason: readMessage,
} satisfies Readers<BanUserOptions>;

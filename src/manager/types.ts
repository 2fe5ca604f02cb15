import type { EndReason, SessionAttributes } from '../store/store';

/**
 * The place to say, once for a whole project, what `user.detail` is, for code that TypeScript can't trace back to the
 * manager (an Express handler's `req`, say):
 *
 * ```ts
 * declare module 'tokensession' {
 *   interface Register { detail: { name: string } }
 * }
 * ```
 *
 * `data` is what sessions hold of the application, by key: `interface Register { data: { cart: string[]; theme: 'dark'
 * | 'light' } }`.
 *
 * With the middleware's option `property`, name that here as well: `interface Register { property: 'auth' }`.
 */
// biome-ignore lint/suspicious/noEmptyInterface: its one member is the project's to declare
export interface Register {}

/** What {@link Register} says `user.detail` is; `unknown` while it says nothing. */
export type RegisteredDetail = Register extends { detail: infer Detail } ? Detail : unknown;

/** What {@link Register} says the data of a session is; any keys of unknown values while it says nothing. */
export type RegisteredData = Register extends { data: infer Data extends object } ? Data : Record<string, unknown>;

/** A type that can't be written to, at any level. */
export type DeepReadonly<Type> = Type extends (...args: never[]) => unknown
  ? Type
  : Type extends object
    ? { readonly [Key in keyof Type]: DeepReadonly<Type[Key]> }
    : Type;

/**
 * A user who is signed in. Frozen at every level, as requests share it: a write throws in strict mode, and is ignored
 * in sloppy mode. `structuredClone(user.detail)` gives a copy to change.
 */
export interface User<Detail = unknown> {
  /** The user id given at login, exactly. */
  readonly id: string;
  /**
   * What `getUserInfo` gave for this user, as JSON carries it (a Date arrives as a string). Absent without a
   * `getUserInfo`.
   */
  readonly detail?: DeepReadonly<Detail>;
}

/** A session as it may be shown to its user. No token can be made of it. All times are by the store's clock. */
export interface SessionInfo {
  /** The session's public id for its whole life, for `deleteSession`. It authenticates nobody. */
  id: string;
  /** When the user logged in. */
  createdAt: Date;
  /** When they last proved who they are: at that login, or in a `reauthenticated()` since. */
  authenticatedAt: Date;
  /** When the session was last slid or refreshed. */
  lastSeenAt: Date;
  /** When it ends unless a request comes first. */
  expiresAt: Date;
  /** Seconds until `expiresAt`, rounded up: a live session never shows 0. */
  ttl: number;
  /** Where it was started; empty when nothing was given. */
  attributes: SessionAttributes;
  /** Who acts as the user, as the login's option `actor` says; `null` for the user. */
  actor: string | null;
}

/** What a check of a live token gives. Holds the token: for trusted code, not for logs or pages. */
export interface Session<Detail = unknown> extends SessionInfo {
  /** What the client signs in with: a secret. */
  token: string;
  /** Whose session it is. */
  user: User<Detail>;
  /** The store's clock when it answered: what to reckon an age from. */
  checkedAt: Date;
}

/** What a look at a token gives: its session, or why there is none. */
export type Inspection<Detail = unknown> =
  | { session: Session<Detail>; reason?: undefined; message?: undefined }
  | {
      session: null;
      reason: EndReason;
      /** The message given when the session was revoked or its user banned. */
      message?: string;
    };

/** A user who may not sign in. Times are by the store's clock. */
export interface Ban {
  since: Date;
  /** When it is over; `null` when it has to be lifted. */
  until: Date | null;
  /** The reason given with it, shown to clients that use a token of an ended session. */
  reason?: string;
}

/**
 * Loads what an application knows of a user. `null` or `undefined` means that there is no such user: their sessions
 * end. A rejection fails the call that asked and changes nothing. The value is kept as JSON, unless the load took more
 * than a minute.
 */
export type GetUserInfo<Detail> = (
  userId: string,
) => Detail | null | undefined | PromiseLike<Detail | null | undefined>;

import type { EndReason, SessionAttributes } from '../store/store';

/**
 * Declares the project's types, once. An Express handler's `req` has no other way to learn them. The file of the
 * declaration needs an import or export, such as `export {};`: else it replaces the types of the package.
 *
 * ```ts
 * declare module 'tokensession' {
 *   interface Register {
 *     detail: { name: string }; // user.detail
 *     data: { cart: string[]; theme: 'dark' | 'light' }; // session data, by key
 *     property: 'auth'; // the middleware's option of that name
 *   }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: its one member is the project's to declare
export interface Register {}

/** The type of `user.detail` in {@link Register}; `unknown` by default. */
export type RegisteredDetail = Register extends { detail: infer Detail } ? Detail : unknown;

/** The type of session data in {@link Register}; by default any keys, with unknown values. */
export type RegisteredData = Register extends { data: infer Data extends object } ? Data : Record<string, unknown>;

/**
 * A type as JSON carries it, read-only at every level: a `Date` is a string, as by its `toJSON`. A `toJSON` that gives
 * an object has no effect here, because models of ORMs declare no useful type for it.
 */
export type ReadonlyJson<Type> = Type extends (...args: never[]) => unknown
  ? Type
  : Type extends WithJson<infer Json>
    ? [Json] extends [string | number | boolean | null]
      ? Json
      : ReadonlyMembers<Type>
    : ReadonlyMembers<Type>;

interface WithJson<Json> {
  toJSON(...args: never[]): Json;
}

type ReadonlyMembers<Type> = Type extends object ? { readonly [Key in keyof Type]: ReadonlyJson<Type[Key]> } : Type;

/**
 * A user who is signed in. Frozen at every level, as requests share it: a write throws in strict mode, and is ignored
 * in sloppy mode. `structuredClone(user.detail)` gives a copy to change.
 */
export interface User<Detail = unknown> {
  /** The user id given at login, exactly. */
  readonly id: string;
  /**
   * What `getUserInfo` gave for this user, as JSON carries it: a `Date` is a string. Without a `getUserInfo`, what
   * another service with the same store has cached; else absent.
   */
  readonly detail?: ReadonlyJson<Detail>;
}

/** A session without its token, safe to show to its user. All times are by the store's clock. */
export interface SessionInfo {
  /** The public id of the session for its whole life, for `deleteSession`. It signs no one in. */
  id: string;
  /** When the user logged in. */
  createdAt: Date;
  /** When the user last proved who they are: at that login, or in a later `reauthenticated()`. */
  authenticatedAt: Date;
  /** When the session was last slid or refreshed. */
  lastSeenAt: Date;
  /** When it ends unless a request comes first. */
  expiresAt: Date;
  /** Seconds until `expiresAt`, rounded up: a live session never shows 0. */
  ttl: number;
  /** Where the session was started; empty when the login gave nothing. */
  attributes: SessionAttributes;
  /** Who acts as the user, by the option `actor` of the login; `null` for the user. */
  actor: string | null;
}

/** A live session with its token: for trusted code, not for logs or pages. */
export interface Session<Detail = unknown> extends SessionInfo {
  /** The secret that the client signs in with. */
  token: string;
  /** The user of the session. */
  user: User<Detail>;
  /** The store's clock when it answered. Measure ages from it. */
  checkedAt: Date;
}

/** The session of a token, or the reason why there is none. */
export type Inspection<Detail = unknown> =
  | { session: Session<Detail>; reason?: undefined; message?: undefined }
  | {
      session: null;
      reason: EndReason;
      /** The message given when the session was revoked or its user banned. */
      message?: string;
    };

/** A ban. Times are by the store's clock. */
export interface Ban {
  since: Date;
  /** When the ban ends; `null`: when `unbanUser` lifts it. */
  until: Date | null;
  /** The reason given to `banUser`. Clients that use a token of an ended session see it. */
  reason?: string;
}

/**
 * Loads the detail of a user. `null` or `undefined` means that there is no such user: all their sessions end. A
 * rejection fails the call that asked, and changes nothing. The value is cached as JSON, unless loading took more than
 * a minute.
 */
export type GetUserInfo<Detail> = (
  userId: string,
) => Detail | null | undefined | PromiseLike<Detail | null | undefined>;

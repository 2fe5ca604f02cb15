/**
 * The place to say, once for a whole project, what `user.detail` is, for code that TypeScript can't trace back to the manager
 * (an Express handler's `req`, say):
 *
 * ```ts
 * declare module 'tokensession' {
 *   interface Register { detail: { name: string } }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: its one member is the project's to declare
export interface Register {}

/** What {@link Register} says `user.detail` is; `unknown` while it says nothing. */
export type RegisteredDetail = Register extends { detail: infer Detail } ? Detail : unknown;

/** Where a session was started, for people to recognise it by. Each at most 512 characters; `undefined` means none. */
export interface SessionAttributes {
  /** The kind or name of the device, in the application's own words. */
  device?: string | undefined;
  /** The address the login came from. */
  ip?: string | undefined;
  /** The User-Agent header the login came with. */
  userAgent?: string | undefined;
}

/** Somebody who is signed in. */
export interface User<Detail = unknown> {
  /** The user id given at login, exactly. */
  id: string;
  /** What `getUserInfo` gave for this user, as JSON carries it (a Date arrives as a string). Absent without a `getUserInfo`. */
  detail?: Detail;
}

/** A session as it may be shown to its user. No token can be made of it. All times are by the store's clock. */
export interface SessionInfo {
  /** A public handle, for `deleteSession`. It authenticates nobody. */
  id: string;
  /** When the user logged in. */
  createdAt: Date;
  /** When the session was last slid or refreshed. */
  lastSeenAt: Date;
  /** When it ends unless a request comes first. */
  expiresAt: Date;
  /** Seconds until `expiresAt`, rounded up: a live session never shows 0. */
  ttl: number;
  /** Where it was started; empty when nothing was given. */
  attributes: SessionAttributes;
}

/** What a check of a live token gives. Holds the token: for trusted code, not for logs or pages. */
export interface Session<Detail = unknown> extends SessionInfo {
  /** What the client signs in with: a secret. */
  token: string;
  /** Whose session it is. */
  user: User<Detail>;
}

/**
 * Loads what an application knows of a user. `null` or `undefined` means that there is no such user: their sessions end.
 * A rejection fails the call that asked and changes nothing. The value is kept as JSON.
 */
export type GetUserInfo<Detail> = (
  userId: string,
) => Detail | null | undefined | PromiseLike<Detail | null | undefined>;

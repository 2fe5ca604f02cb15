import type { EventEmitter } from 'node:events';

/*
 * As much of express-session as is used here. Its published types would put its `req.session` beside ours into every
 * program that has both.
 */

/** A request that express-session has been at. */
export interface SessionRequest {
  sessionID: string;
  session?: object | null;
  readonly ip?: string | undefined;
  readonly headers?: Readonly<Record<string, string | string[] | undefined>> | undefined;
}

/** A cookie in a session, as express-session and JSON have it. */
export interface SessionCookie {
  originalMaxAge?: number | null | undefined;
  expires?: Date | string | boolean | null | undefined;
}

/** What the methods of a session return, for `createSession`. */
export interface SessionMethods {
  id: string;
  /** Replaces the session by a new one. */
  regenerate(callback: (error: unknown) => void): this;
  /** Ends the session. */
  destroy(callback: (error: unknown) => void): this;
  /** Reads the session again. */
  reload(callback: (error: unknown) => void): this;
  /** Sets `maxAge` of the cookie back to the original. */
  resetMaxAge(): this;
  /** Saves the session now. */
  save(callback?: (error: unknown) => void): this;
  /** Restarts the clock of the cookie. */
  touch(): this;
}

/** The base class of stores. */
export interface BaseStore extends EventEmitter {
  /** The middleware sets it. */
  generate?: ((request: SessionRequest) => void) | undefined;
  /** Replaces the session of a request by a new one. */
  regenerate(request: object, callback: (error?: unknown) => unknown): void;
  /** Loads a session by its id. */
  load(sid: string, callback: (error: unknown, session?: never) => unknown): void;
  /** Makes the session object of a request from stored data. */
  createSession<Session extends object>(request: object, session: Session): Session & SessionMethods;
}

interface Peer {
  Store: new () => BaseStore;
  Session: { prototype: object };
}

const peer: Peer = require('express-session');

export const { Store, Session } = peer;

/** Any store of express-session, to read sessions from. */
export interface AnyStore {
  /** Reads a session. */
  get(sid: string, callback: (error: unknown, session?: object | null) => void): unknown;
  /** Deletes a session. */
  destroy(sid: string, callback: (error?: unknown) => void): unknown;
}

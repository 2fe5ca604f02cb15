import type { EventEmitter } from 'node:events';

/*
 * The used part of express-session. Its published types are not imported: they would declare its `req.session` beside
 * ours in every program.
 */

/** A request after express-session's middleware. */
export interface SessionRequest {
  sessionID: string;
  session?: object | null;
  readonly ip?: string | undefined;
  readonly headers?: Readonly<Record<string, string | string[] | undefined>> | undefined;
}

/** The cookie in a session, as express-session keeps it or as it is stored in JSON. */
export interface SessionCookie {
  originalMaxAge?: number | null | undefined;
  expires?: Date | string | number | boolean | null | undefined;
}

/** The methods of an express-session session. */
export interface SessionMethods {
  id: string;
  /** Ends the session and starts a new one. */
  regenerate(callback: (error: unknown) => void): this;
  /** Ends the session. */
  destroy(callback: (error: unknown) => void): this;
  /** Reads the session again. */
  reload(callback: (error: unknown) => void): this;
  /** Resets the cookie's `maxAge` to the original. */
  resetMaxAge(): this;
  /** Saves the session now. */
  save(callback?: (error: unknown) => void): this;
  /** Restarts the lifetime of the cookie. */
  touch(): this;
}

/** The base class of stores. */
interface BaseStore extends EventEmitter {
  /** Starts the session of a request. express-session's middleware sets this function. */
  generate?: ((request: SessionRequest) => void) | undefined;
  /** Replaces the session of a request by a new one. */
  regenerate(request: object, callback: (error?: unknown) => unknown): void;
  /** Loads a session by its id. */
  load(sid: string, callback: (error: unknown, session?: never) => unknown): void;
  /** Makes a request's session object from stored content. */
  createSession<Session extends object>(request: object, session: Session): Session & SessionMethods;
}

interface Peer {
  Store: new () => BaseStore;
  Session: { prototype: { reload(this: object, callback: unknown): unknown } };
}

const peer: Peer = require('express-session');

export const { Store, Session } = peer;

/** The used part of an express-session store from which sessions are moved. */
export interface AnyStore {
  /** Reads a session. */
  get(sid: string, callback: (error: unknown, session?: object | null) => void): unknown;
  /** Deletes a session. */
  destroy(sid: string, callback: (error?: unknown) => void): unknown;
}

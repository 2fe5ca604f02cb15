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
  regenerate(callback: (error: unknown) => void): this;
  destroy(callback: (error: unknown) => void): this;
  reload(callback: (error: unknown) => void): this;
  resetMaxAge(): this;
  save(callback?: (error: unknown) => void): this;
  touch(): this;
}

/** The base class of stores. */
export interface BaseStore extends EventEmitter {
  /** The middleware sets it. */
  generate?: ((request: SessionRequest) => void) | undefined;
  regenerate(request: object, callback: (error?: unknown) => unknown): void;
  load(sid: string, callback: (error: unknown, session?: never) => unknown): void;
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
  get(sid: string, callback: (error: unknown, session?: object | null) => void): unknown;
  destroy(sid: string, callback: (error?: unknown) => void): unknown;
}

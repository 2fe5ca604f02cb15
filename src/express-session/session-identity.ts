import { hash } from 'node:crypto';
import type { SessionName } from '../token/token';

/** The identity of a session: its id in express-session, its name in the store, and its user; `null` for a visitor. */
export interface SessionIdentity {
  readonly id: string;
  readonly name: SessionName;
  readonly userId: string | null;
}

const NAMED_ID = /^([\w-]{22})\.([\w-]{22})$/;

/**
 * The name of the session with this express-session id. An id `tag.sid` contains the name. For any other id, which
 * express-session has made for a visitor, the name is a hash of the id.
 */
export function nameOf(id: string): SessionName {
  const [, tag, sid] = NAMED_ID.exec(id) ?? [];
  if (tag !== undefined && sid !== undefined) return { tag, sid };
  const hashed = hashOf(`express-session\n${id}`);
  return { tag: hashed, sid: hashed };
}

/** The id that contains this name. */
export function idOf({ tag, sid }: SessionName): string {
  return `${tag}.${sid}`;
}

export function isNamedId(id: string): boolean {
  return NAMED_ID.test(id);
}

/** The sid of a user's session moved from this id of the former store. Parallel moves get the same one. */
export function movedSidOf(id: string): string {
  return hashOf(`express-session of a user\n${id}`);
}

function hashOf(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, 22);
}

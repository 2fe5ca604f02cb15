import { hash } from 'node:crypto';
import type { SessionName } from '../manager/named-sessions';

/** Which session it is: its id to express-session, its name to us, and its user; `null` for a visitor. */
export interface SessionIdentity {
  readonly id: string;
  readonly name: SessionName;
  readonly userId: string | null;
}

const NAMED_ID = /^([\w-]{22})\.([\w-]{22})$/;

/**
 * The name of the session that has this id to express-session: `tag.sid` names one as it is, of a user or a visitor.
 * Of any other id, which express-session has made for a visitor, the name is a hash.
 */
export function nameOf(id: string): SessionName {
  const [, tag, sid] = NAMED_ID.exec(id) ?? [];
  if (tag !== undefined && sid !== undefined) return { tag, sid };
  const hashed = hashOf(`express-session\n${id}`);
  return { tag: hashed, sid: hashed };
}

/** The id that names a session as it is. */
export function idOf({ tag, sid }: SessionName): string {
  return `${tag}.${sid}`;
}

/** Whether an id names a session as it is. */
export function isNamedId(id: string): boolean {
  return NAMED_ID.test(id);
}

/** The sid of a user's session that another store had under this id: the same for all who move it at once. */
export function movedSidOf(id: string): string {
  return hashOf(`express-session of a user\n${id}`);
}

function hashOf(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, 22);
}

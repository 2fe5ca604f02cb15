import { hash, timingSafeEqual } from 'node:crypto';
import { nanoid } from 'nanoid';
import { HmacSha256 } from './hmac';
import { checkDistinct, checkSecret } from './secret';

/*
 * A token is `tag.sid.sig`:
 *
 *   tag   22 characters   the first 132 bits of SHA-256(user id), base64url (RFC 4648, 5): names the user's key in the store
 *   sid   22 characters   132 random bits, base64url: names the session, and is its public id
 *   sig   43 characters   HMAC-SHA-256(secret, tag.sid) (RFC 2104), base64url: exists nowhere but in the token
 */
const FORMAT = /^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}$/;
const TAG_LENGTH = 22;
const SID_LENGTH = 22;
const SIGNED_LENGTH = TAG_LENGTH + 1 + SID_LENGTH;
export const TOKEN_LENGTH = SIGNED_LENGTH + 1 + 43;
const SID_FORMAT = /^[A-Za-z0-9_-]{22}$/;

/** The keys that tokens are signed with: the first signs, all verify. */
export type SigningKeys = readonly [HmacSha256, ...HmacSha256[]];

/** The parts of a token that are no secret. */
export interface TokenParts {
  tag: string;
  sid: string;
}

/**
 * Makes keys of one secret or several, at least 32 characters each: a new secret is put in front of the old one, which goes on verifying.
 *
 * @throws TypeError what is given is not a string or a list of strings. RangeError the list is empty or names a secret twice, or a
 * secret is too short or can be guessed: a placeholder of some documentation, a repetition, a row of neighbours.
 */
export function importSecret(secret: unknown): SigningKeys {
  const secrets = Array.isArray(secret)
    ? Array.from(secret, (text: unknown, index) => checkSecret(`secret[${index}]`, text))
    : [checkSecret('secret', secret)];
  checkDistinct(secrets);
  const [first, ...older] = secrets.map((text) => new HmacSha256(Buffer.from(text, 'utf8'), SIGNED_LENGTH));
  if (first === undefined) throw new RangeError('option secret must hold at least one secret');
  return [first, ...older];
}

/** The user's name in the store: the same for every session of theirs, and it doesn't tell the id. */
export function tagOf(userId: string): string {
  return hash('sha256', userId, 'base64url').slice(0, TAG_LENGTH);
}

/** Whether a value has the form of a session id. */
export function isSessionId(value: string): boolean {
  return SID_FORMAT.test(value);
}

/** A token for a new session of this user. Throws when the system's random source fails; there is no weaker one to fall back on. */
export function createToken(userId: string, keys: SigningKeys): TokenParts & { token: string } {
  const parts = { tag: tagOf(userId), sid: createSessionId() };
  return { ...parts, token: signToken(parts, keys) };
}

/** An id for the next token of a session. */
export function createSessionId(): string {
  return nanoid(SID_LENGTH);
}

/** The same text in memory of its own: what is cut out of a longer one, a header say, keeps that in memory for as long as it is kept. */
export function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

/** The tag in a token of ours. */
export function tagIn(token: string): string {
  return token.slice(0, TAG_LENGTH);
}

/** The session id in a token of ours. */
export function sessionIdOf(token: string): string {
  return token.slice(TAG_LENGTH + 1, SIGNED_LENGTH);
}

/** The whole token of a session that the store knows. */
export function signToken({ tag, sid }: TokenParts, keys: SigningKeys): string {
  const signed = `${tag}.${sid}`;
  return `${signed}.${keys[0].digest(signed)}`;
}

/** The parts of a token that one of these keys has signed; `null` for any other value. Tells nothing of whether the session lives. */
export function parseToken(token: unknown, keys: SigningKeys): TokenParts | null {
  if (typeof token !== 'string' || token.length !== TOKEN_LENGTH || !FORMAT.test(token)) return null;
  const signed = token.slice(0, SIGNED_LENGTH);
  const given = Buffer.from(token.slice(SIGNED_LENGTH + 1), 'latin1');
  for (const key of keys) {
    // Compared as text: base64url's last character has unused bits, which a decoder would let vary.
    if (timingSafeEqual(given, Buffer.from(key.digest(signed), 'latin1'))) {
      return { tag: signed.slice(0, TAG_LENGTH), sid: signed.slice(TAG_LENGTH + 1) };
    }
  }
  return null;
}

import { hash, timingSafeEqual } from 'node:crypto';
import { nanoid } from 'nanoid';
import { HmacSha256 } from './hmac';
import { checkDistinct, checkSecret } from './secret';

/*
 * A token is `tag.sid.gen.minted.proved.sig`:
 *
 *   tag     22 characters   the first 132 bits of SHA-256(user id), base64url (RFC 4648, 5): names the user's key in
 *                           the store; for a visitor the sid
 *   sid     22 characters   132 random bits, base64url: the session's public id for its whole life
 *   gen     base 36         generation: 0 at login, one more at each rotation
 *   minted  base 36         when this token was made, in milliseconds by the store's clock
 *   proved  base 36         when its holder last proved who they are, at a login or re-authentication: the same
 *   sig     43 characters   HMAC-SHA-256(secret, all before it) (RFC 2104), base64url: exists in the token alone
 *
 * Numbers are written without leading zeros, so that each token has one spelling.
 */
const GEN = '(0|[1-9a-z][0-9a-z]{0,5})';
const MOMENT = '(0|[1-9a-z][0-9a-z]{0,9})';
const FORMAT = new RegExp(`^([\\w-]{22})\\.([\\w-]{22})\\.${GEN}\\.${MOMENT}\\.${MOMENT}\\.[\\w-]{43}$`);
const TAG_LENGTH = 22;
const SID_LENGTH = 22;
const SIG_LENGTH = 43;
const SID_FORMAT = /^[\w-]{22}$/;

/** With 6 digits for the generation, and 10 for each moment, enough until the year 117,000. */
export const MAX_TOKEN_LENGTH = TAG_LENGTH + 1 + SID_LENGTH + 1 + 6 + 1 + 10 + 1 + 10 + 1 + SIG_LENGTH;
const MAX_SIGNED_LENGTH = MAX_TOKEN_LENGTH - SIG_LENGTH - 1;

/** The two signatures of a comparison: to make new buffers for each would cost more than to compare them. */
const GIVEN = Buffer.alloc(SIG_LENGTH);
const EXPECTED = Buffer.alloc(SIG_LENGTH);

/** The keys that tokens are signed with: the first signs, all verify. */
export type SigningKeys = readonly [HmacSha256, ...HmacSha256[]];

/** The content of a token without its signature. Moments are milliseconds since the epoch by the store's clock. */
export interface TokenClaims {
  /** The user's name in the store. */
  tag: string;
  /** The session's id. */
  sid: string;
  /** Rotations between the login and this token. */
  gen: number;
  /** When the token was made. */
  mintedAt: number;
  /** When its holder last proved who they are. */
  provedAt: number;
}

/** Names a session without proving anything: a visitor's has its sid as its tag. */
export type SessionName = Pick<TokenClaims, 'tag' | 'sid'>;

/**
 * Makes keys of one secret or several, each of at least 32 characters. The first signs, all verify.
 *
 * @throws TypeError for a value that is neither a string nor a list of strings. RangeError for an empty list, for a
 *   secret that is listed twice, and for one that is too short or easy to guess: a placeholder, a repetition, a row of
 *   neighbours.
 */
export function importSecret(secret: unknown): SigningKeys {
  const secrets = Array.isArray(secret)
    ? Array.from(secret, (text: unknown, index) => checkSecret(`secret[${index}]`, text))
    : [checkSecret('secret', secret)];
  checkDistinct(secrets);
  const [first, ...older] = secrets.map((text) => new HmacSha256(Buffer.from(text, 'utf8'), MAX_SIGNED_LENGTH));
  if (first === undefined) throw new RangeError('option secret must hold at least one secret');
  return [first, ...older];
}

/** The user's name in the store. It is the same for all sessions of the user, and doesn't reveal the id. */
export function tagOf(userId: string): string {
  return hash('sha256', userId, 'base64url').slice(0, TAG_LENGTH);
}

/**
 * Whether a token is a visitor's. The tag of a visitor is the session's own id, because there is no user id. A user's
 * session has that by chance once in 2^132.
 */
export function isVisitor({ tag, sid }: SessionName): boolean {
  return tag === sid;
}

/** Whether a token with this tag fits a session of this user; `''` for a visitor. */
export function isOwner(userId: string, claims: TokenClaims): boolean {
  return userId === '' ? isVisitor(claims) : tagOf(userId) === claims.tag;
}

export function isSessionId(value: string): boolean {
  return SID_FORMAT.test(value);
}

/**
 * Makes the id of a new session. Throws when the system's random source fails; there is no weaker source to fall back
 * on.
 */
export function createSessionId(): string {
  return nanoid(SID_LENGTH);
}

/**
 * A copy of any text in memory of its own. A substring of a longer text, such as a header, keeps all of that in memory.
 */
export function flat(text: string): string {
  // Twice as fast as by JSON; UTF-8 would change lone surrogates.
  return Buffer.from(text, 'utf16le').toString('utf16le');
}

export function tagIn(token: string): string {
  return token.slice(0, TAG_LENGTH);
}

export function sessionIdIn(token: string): string {
  return token.slice(TAG_LENGTH + 1, TAG_LENGTH + 1 + SID_LENGTH);
}

/** Signs a token with these claims, with the first key. */
export function signToken({ tag, sid, gen, mintedAt, provedAt }: TokenClaims, keys: SigningKeys): string {
  const signed = `${tag}.${sid}.${gen.toString(36)}.${mintedAt.toString(36)}.${provedAt.toString(36)}`;
  return `${signed}.${keys[0].digest(signed)}`;
}

/**
 * The claims of a token that one of these keys has signed; `null` for any other value. Says nothing about whether the
 * session lives.
 */
export function parseToken(token: unknown, keys: SigningKeys): TokenClaims | null {
  const claims = readClaims(token);
  if (claims === null) return null;
  const text = token as string;
  const signed = text.slice(0, -SIG_LENGTH - 1);
  // Compared as text, because a decoder would ignore unused bits of base64url's last character.
  GIVEN.write(text.slice(-SIG_LENGTH), 'latin1');
  const isSigned = keys.some((key) => {
    EXPECTED.write(key.digest(signed), 'latin1');
    return timingSafeEqual(GIVEN, EXPECTED);
  });
  return isSigned ? claims : null;
}

/** The claims of a value in the form of a token, unverified; `null` for any other value. */
export function readClaims(token: unknown): TokenClaims | null {
  const match = typeof token === 'string' ? FORMAT.exec(token) : null;
  if (match === null) return null;
  const [, tag, sid, gen, minted, proved] = match as unknown as [string, string, string, string, string, string];
  return {
    tag,
    sid,
    gen: Number.parseInt(gen, 36),
    mintedAt: Number.parseInt(minted, 36),
    provedAt: Number.parseInt(proved, 36),
  };
}

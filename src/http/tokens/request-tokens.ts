import { SessionError } from '../../errors/session-error';
import type { RequestSessions } from '../../manager/request-sessions';
import type { TokenManager } from '../../manager/token-manager';
import { isVisitor, sessionIdIn, type TokenClaims, tagIn } from '../../token/token';
import type { CookiesOf } from '../cookies/cookie';
import type { Exchange } from '../exchange/exchange';
import { crossOriginRefusal, type TrustedOrigins } from './origin-check';
import type { readHeader } from './token-header';

/** What tokens are judged by. */
interface TokenPolicy {
  readonly manager: Pick<TokenManager, 'isToken'>;
  readonly sessions: Pick<RequestSessions<unknown>, 'readToken'>;
  readonly cookies: CookiesOf | null;
  readonly header: ReturnType<typeof readHeader>;
  readonly trustedOrigins: TrustedOrigins;
}

/** The judgement of a request: which of its tokens may act, for every look-up and every verb. */
export interface RequestTokens {
  /**
   * The tokens to look up, in turn. Several are signed, of one user and of different sessions. A single one may be any
   * value.
   */
  readonly acting: readonly string[];
  /** The value in the header, if it acts alone; `null` otherwise. Signed, or else no cookie came for users. */
  readonly header: string | null;
  /** The different tokens under the cookie's name. */
  readonly cookies: readonly string[];
  /** Why no token may act; `null` when they may, or none came. */
  readonly refusal: SessionError | null;
}

/** Live sessions that a browser may hold under one name. Each costs a call to the store. */
const MAX_SESSIONS = 3;

const NONE: readonly string[] = [];

/**
 * Judges the tokens of a request. A signed token in the header acts alone. Any other header value counts for nothing: a
 * page of another origin can send any header that CORS allows, and must not disable the check of the cookie. The
 * signature of a single token is verified when it is looked up.
 */
export function judgeTokens(policy: TokenPolicy, exchange: Exchange): RequestTokens {
  const { manager, sessions, trustedOrigins } = policy;
  const header = policy.header?.read(exchange);
  const cookies = policy.cookies?.(exchange.isSecure).user.read(exchange.header('cookie')) ?? NONE;
  if (header !== undefined && (cookies.length === 0 || manager.isToken(header))) {
    return { acting: [header], header, cookies, refusal: null };
  }
  const refusal = cookies.length === 0 ? null : crossOriginRefusal(exchange, trustedOrigins);
  if (refusal !== null) {
    const isRefused = cookies.some((token) => manager.isToken(token));
    return { acting: NONE, header: null, cookies, refusal: isRefused ? refusal : null };
  }
  const candidates = candidatesOf(cookies, sessions);
  const conflict = candidates === null ? tokenConflict() : null;
  return { acting: candidates ?? NONE, header: null, cookies, refusal: conflict };
}

/** The signed token in the header, which acts alone: no cookie counts beside it. `null` for none. */
export function headerTokenOf({ manager }: TokenPolicy, { header }: RequestTokens): string | null {
  return header !== null && manager.isToken(header) ? header : null;
}

/** The visitor of a request, as {@link judgeTokens} judges users. */
export interface RequestVisitor {
  /** The one signed token of a visitor, in the header or in the visitor's cookie; `null` when there is none. */
  readonly token: string | null;
  /** Whether the visitor's cookie carries it: it came there, or the answer sets it. */
  readonly isInCookie: boolean;
  /** Why it may not act. */
  readonly refusal: SessionError | null;
  /** The different tokens that came under the name of the visitor's cookie. */
  readonly cookies: readonly string[];
}

export const NO_VISITOR: RequestVisitor = { token: null, isInCookie: false, refusal: null, cookies: NONE };

/**
 * Judges the visitor of a request. A signed token in the header acts alone here, too. With several visitors in cookies,
 * none counts: their order has no meaning, and an attacker can plant one.
 */
export function judgeVisitor(policy: TokenPolicy, exchange: Exchange, tokens: RequestTokens): RequestVisitor {
  const { manager, trustedOrigins } = policy;
  const header = headerTokenOf(policy, tokens);
  if (header !== null) return isVisitors(header) ? { ...NO_VISITOR, token: header } : NO_VISITOR;
  const cookies = policy.cookies?.(exchange.isSecure).visitor.read(exchange.header('cookie')) ?? NONE;
  const signed = cookies.filter((token) => isVisitors(token) && manager.isToken(token));
  const [token] = signed;
  if (token === undefined || signed.length > 1) return { ...NO_VISITOR, cookies };
  const refusal = crossOriginRefusal(exchange, trustedOrigins);
  const isAccepted = refusal === null;
  return { token: isAccepted ? token : null, isInCookie: isAccepted, refusal, cookies };
}

/** Whether a value is a visitor's token, provided it is signed. */
function isVisitors(token: string): boolean {
  return isVisitor({ tag: tagIn(token), sid: sessionIdIn(token) });
}

/**
 * The tokens of a cookie's values to look up. Their order has no meaning, because an attacker who plants a cookie
 * chooses its place. Signed ones of users count: the newest of each session, newest first. An older one is an accident,
 * such as a cookie for another path.
 *
 * @returns `null` for a conflict: signed tokens of several users, or of too many sessions.
 */
export function candidatesOf(values: readonly string[], sessions: TokenPolicy['sessions']): readonly string[] | null {
  const ofUsers = values.some(isVisitors) ? values.filter((token) => !isVisitors(token)) : values;
  if (ofUsers.length < 2) return ofUsers;
  const newest = new Map<string, { token: string; claims: TokenClaims }>();
  let user: string | null = null;
  for (const token of ofUsers) {
    const claims = sessions.readToken(token);
    if (claims === null) continue;
    user ??= claims.tag;
    const other = newest.get(claims.sid);
    if (other === undefined || compareAge(claims, other.claims) < 0) newest.set(claims.sid, { token, claims });
    if (claims.tag !== user || newest.size > MAX_SESSIONS) return null;
  }
  const candidates = [...newest.values()].sort((one, two) => compareAge(one.claims, two.claims));
  return candidates.map(({ token }) => token);
}

export function tokenConflict(): SessionError {
  const message = 'the request has cookies of several users, or of too many sessions: a login or a logout clears them';
  return new SessionError('ERR_TOKEN_CONFLICT', message);
}

/** Sorts newer tokens first. Tokens of one age have any fixed order. */
function compareAge(one: TokenClaims, two: TokenClaims): number {
  if (one.sid === two.sid && one.gen !== two.gen) return two.gen - one.gen;
  return two.mintedAt - one.mintedAt || two.provedAt - one.provedAt || (one.sid < two.sid ? -1 : 1);
}

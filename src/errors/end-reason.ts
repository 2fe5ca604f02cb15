/** Why a token is not live, as far as the store remembers. `docs/policies.md` has the meaning of each. */
export type EndReason = 'replaced' | 'revoked' | 'banned' | 'reused' | 'expired' | 'unknown';

/**
 * Why a token is not live, as far as the store still knows:
 *
 * | reason | |
 * |---|---|
 * | `replaced` | another login took its place: `singleMode`, `maxSessions`, `maxSessionsPerDevice`, or a new login in the same browser |
 * | `revoked` | it was ended from outside: `deleteUserToken`, `deleteSession`, "log out everywhere" |
 * | `banned` | a ban of its user ended it |
 * | `reused` | a former token of the session was used after its grace: one of its tokens is in the wrong hands |
 * | `expired` | its time was up: known for as long again as it could have lived unused, an hour at most |
 * | `unknown` | anything else: logged out by its holder, forgotten, or never a session |
 */
export type EndReason = 'replaced' | 'revoked' | 'banned' | 'reused' | 'expired' | 'unknown';

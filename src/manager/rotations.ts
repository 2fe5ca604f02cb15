import type { Ending } from '../errors/session-error';
import type { ReusePolicy } from '../store/store';
import { readClaims, signToken, type TokenClaims } from '../token/token';
import type { ManagerPolicy } from './manager-options';
import type { OpenedSession } from './opened-session';
import type { SessionEmitter } from './session-events';
import { endingOf, type LiveToken, liveIn, type SessionLookup } from './session-lookup';
import type { User } from './types';

/** A live session with its new token, or why there is none. */
type RotatedToken = (LiveToken & { token: string; ending: null }) | { token: null; ending: Ending };

/** Makes new tokens for live sessions. Writes nothing: a session's record moves on at the first use of a new token. */
export class Rotations {
  readonly #policy: ManagerPolicy<unknown>;
  readonly #lookup: SessionLookup;
  readonly #events: SessionEmitter;

  constructor(policy: ManagerPolicy<unknown>, lookup: SessionLookup, events: SessionEmitter) {
    this.#policy = policy;
    this.#lookup = lookup;
    this.#events = events;
  }

  /** The option `rotationGrace`, in milliseconds. */
  get graceMs(): number {
    return this.#policy.reuse.graceMs;
  }

  /**
   * Makes a new token for the session of this one. `proof`: `'inherited'` keeps the proof of this token, `'now'` proves
   * its user at this moment.
   *
   * @param reuse {@link ANY_TOKEN} for a token that was judged before.
   */
  async rotate(token: string, proof: 'inherited' | 'now', reuse?: ReusePolicy): Promise<RotatedToken> {
    const found = await this.#lookup.ask(token, 'read', undefined, reuse);
    const live = liveIn(found);
    if (live === null) return { token: null, ending: endingOf(found) };
    const provedAt = proof === 'now' ? live.now : live.provedAt;
    const claims = { ...(readClaims(token) as TokenClaims), provedAt };
    const next = this.#mint(claims, live.user.id, live.session.gen, live.now);
    return { ...live, provedAt, token: next, ending: null };
  }

  /** Whether a session's token is older than `rotateEvery`, or signed with an older secret. Asks no store. */
  isDue(session: OpenedSession<unknown>): boolean {
    const { rotateEveryMs, keys } = this.#policy;
    if (rotateEveryMs === 0 || session.user === null) return false;
    const claims = readClaims(session.token);
    // A former token in flight: its client has a newer one.
    if (claims === null || claims.gen < session.newestGen) return false;
    // A token from the future was made before Redis's clock was set back.
    const isOld = Math.abs(session.checkedAt.getTime() - claims.mintedAt) >= rotateEveryMs;
    return isOld || (keys.length > 1 && signToken(claims, keys) !== session.token);
  }

  /** Makes a new token for a user's session that was just checked. Asks no store. */
  renewed({ token, user, newestGen, checkedAt }: OpenedSession<unknown>): string {
    return this.#mint(readClaims(token) as TokenClaims, (user as User).id, newestGen, checkedAt.getTime());
  }

  /**
   * Makes a token beyond this one and beyond the newest used one. A request in flight may rotate a former token, and
   * its client must be able to use the result.
   */
  #mint(claims: TokenClaims, userId: string, newestGen: number, now: number): string {
    const gen = Math.max(claims.gen, newestGen) + 1;
    const token = signToken({ ...claims, gen, mintedAt: now }, this.#policy.keys);
    this.#events.emit('rotated', { userId, sessionId: claims.sid });
    return token;
  }
}

import { idOf } from '../../test/support/session-id';
import { monotonicMs } from '../monotonic';
import { addRecall, type Foreign, type ForeignEntry } from './book';
import type { Calls } from './calls';
import type { News } from './news';
import { pick } from './picks';
import type { Waits } from './waits';

/** If its news is older after a suspension, a worker does not use others' tokens: their grace may be over. */
const OLD_NEWS_MS = 1000;
/** How far back this process's drift counts for a near-cache answer. */
const DRIFT_MS = 1000;
/** The newest logins, and the latest ends, of which one is picked. */
const RECENT = 100;
/** The sessions whose sightings are kept. */
const MAX_FOREIGN = 20_000;

/** The sessions of other workers' users, as this worker sees them. */
export class ForeignSessions {
  readonly #calls: Calls;
  readonly #waits: Waits;
  readonly #byId = new Map<string, Foreign>();
  #loggedIn: Foreign[] = [];
  #ended: Foreign[] = [];
  /** When the newest news that this worker has read was sent. */
  #newsAt = 0;

  constructor(calls: Calls, waits: Waits) {
    this.#calls = calls;
    this.#waits = waits;
  }

  get entries(): ForeignEntry[] {
    return [...this.#byId.values()].map(({ askedAt: _askedAt, ...entry }) => entry);
  }

  /** Tokens of other processes' users, to check from now on. */
  take({ at, loggedIn, rotated, ended }: News): void {
    this.#newsAt = Math.max(this.#newsAt, at);
    for (const [token, userId] of loggedIn) {
      const id = idOf(token);
      const entry = { id, token, userId, seenDead: null, lastSeenAlive: null, recalls: [], askedAt: 0 };
      this.#byId.set(id, entry);
      this.#loggedIn.push(entry);
    }
    for (const token of rotated) {
      const entry = this.#byId.get(idOf(token));
      if (entry !== undefined) entry.token = token;
    }
    for (const id of this.#byId.keys()) {
      if (this.#byId.size <= MAX_FOREIGN) break;
      this.#byId.delete(id);
    }
    this.#ended.push(...ended.flatMap((token) => this.#byId.get(idOf(token)) ?? []));
    this.#loggedIn = this.#loggedIn.slice(-RECENT);
    this.#ended = this.#ended.slice(-RECENT);
  }

  pick(): Foreign | undefined {
    return pick(Math.random() < 0.5 ? this.#loggedIn : this.#ended);
  }

  pickLive(): Foreign | undefined {
    return pick(this.#loggedIn.filter(({ seenDead }) => seenDead === null));
  }

  async check(operation: "check of others' tokens" | 'watch', entry: Foreign): Promise<void> {
    if (monotonicMs() - this.#newsAt > OLD_NEWS_MS) return;
    const { token, userId } = entry;
    const outcome = await this.#calls.make(operation, null, async (mark) => {
      const session = await this.#calls.read('check', token, mark);
      if (session !== null) this.#calls.verify(session, token, userId, null);
      return session !== null;
    });
    if (!outcome.ok) return;
    const { begun } = outcome.sighting;
    if (outcome.isRecalled) {
      const driftMs = this.#waits.driftSince(performance.now() - DRIFT_MS);
      addRecall(entry.recalls, { at: begun, askedAt: entry.askedAt, driftMs });
    } else if (outcome.reply) {
      entry.lastSeenAlive = outcome.sighting;
      entry.askedAt = Math.max(entry.askedAt, begun);
    } else entry.seenDead ??= outcome.sighting;
  }
}

import { SessionError } from '../errors/session-error';
import { isStartRefusal } from '../errors/start-refusal';
import type { NamedSession, NamedSessions } from '../manager/named-sessions';
import { tagOf } from '../token/token';
import type { AnyStore } from './peer';
import { entriesOf, lifetimeOf } from './session-content';
import { idOf, isNamedId, movedSidOf, nameOf } from './session-identity';

/** Milliseconds after which a call to the former store fails. */
const TIMEOUT_MS = 5000;

interface LegacySettings {
  store: AnyStore;
  /** The user in a session; `null` for none. */
  userIdOf(session: object): string | null;
  /** When the session's user logged in, in milliseconds since the epoch; 0 for unknown. */
  provedAtOf(session: object): number;
}

/**
 * Moves each session out of the application's former store at its first use.
 *
 * Parallel moves of one session run the same steps, and each step takes effect once. The new id is derived from the
 * former one, and an existing session is not started again. A user's session gets a new id; a record under the former
 * id points to it. The former record is deleted last, so that the next request repeats a failed step. A session that
 * ended after its move does not come back.
 */
export class LegacySessions {
  readonly #sessions: NamedSessions;
  readonly #settings: LegacySettings;

  constructor(sessions: NamedSessions, settings: LegacySettings) {
    this.#sessions = sessions;
    this.#settings = settings;
  }

  /** Moves a session that the manager does not have. Returns the manager's session of that id; `null` for none. */
  async move(id: string): Promise<NamedSession | null> {
    if (isNamedId(id)) return null;
    const former = await this.#ask<object | null | undefined>((done) => this.#settings.store.get(id, done));
    const lifetimeMs = former ? lifetimeOf(former) : 0;
    if (former && lifetimeMs !== 0) {
      await this.#start(id, former, lifetimeMs);
      await this.forget(id);
      // A master that was promoted just before the record was deleted may lack the session: it is started again there.
      await this.#start(id, former, lifetimeMs);
    }
    return this.#sessions.use(nameOf(id));
  }

  /** Deletes the former record of a session, whose id is no named one. */
  async forget(id: string): Promise<void> {
    await this.#ask((done) => this.#settings.store.destroy(id, done));
  }

  async #start(id: string, former: object, lifetimeMs: number | null): Promise<void> {
    const { userIdOf, provedAtOf } = this.#settings;
    const data = entriesOf(former);
    const userId = userIdOf(former);
    const name = userId === null ? nameOf(id) : { tag: tagOf(userId), sid: movedSidOf(id) };
    const ttl = (lifetimeMs ?? this.#sessions.defaultTtlMs(name)) / 1000;
    try {
      if (userId === null) {
        await this.#sessions.startVisitor(name, { data, ttl, provedAt: 0 });
      } else {
        await this.#sessions.startUser(userId, name, { data, ttl, provedAt: provedAtOf(former) });
        const attributes = { movedTo: idOf(name) };
        await this.#sessions.startVisitor(nameOf(id), { data: new Map(), ttl, provedAt: 0, attributes });
      }
    } catch (error) {
      if (!isStartRefusal(error)) throw error;
    }
  }

  /** Calls the former store. Wraps its errors, whose codes could mean something else to express-session. */
  async #ask<Reply>(ask: (done: (error?: unknown, reply?: Reply) => void) => unknown): Promise<Reply | undefined> {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Reply | undefined>((resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
        const asked = ask((error, reply) => (error ? reject(error) : resolve(reply)));
        if (asked instanceof Promise) asked.catch(reject);
      });
    } catch (error) {
      const message = 'the store that sessions are moved from can not be asked';
      // Other properties of a client's error may contain session ids, and the message of JSON.parse quotes the session.
      const text = error instanceof Error ? error.message : String(error);
      const cause = new Error(error instanceof SyntaxError ? 'a session of it is no JSON' : text);
      throw new SessionError('ERR_STORE_UNAVAILABLE', message, { cause });
    } finally {
      clearTimeout(timer);
    }
  }
}

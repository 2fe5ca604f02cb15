import { SessionError, type TokenManager } from 'tokensession';
import { idOf } from '../../test/support/session-id';
import { monotonicMs } from '../monotonic';
import type { Account, Book } from './book';
import type { Sighting } from './sighting';
import { count, type Operation, type Tally } from './tally';
import type { Waits } from './waits';

const MAX_NOTES = 100;

type FoundSession = Awaited<ReturnType<TokenManager['checkToken']>>;

/** Whether the near cache has answered a call. */
interface Mark {
  isRecalled: boolean;
}

/** How a call has settled. `isEnded`: it failed, and has ended sessions all the same. */
export type Outcome<Reply> =
  | { ok: true; reply: Reply; sighting: Sighting; begun: number; isRecalled: boolean }
  | { ok: false; isEnded: boolean; begun: number };

/** Makes the calls of a worker: measures and counts each, and notes what must not happen. */
export class Calls {
  readonly tally: Tally = {};
  /** Answers that belonged to another user than the token's. */
  readonly mixUps: string[] = [];
  /** Rejections other than a SessionError with status 503. */
  readonly unexpected: string[] = [];
  readonly #manager: TokenManager;
  readonly #book: Book;
  readonly #waits: Waits;

  constructor(manager: TokenManager, book: Book, waits: Waits) {
    this.#manager = manager;
    this.#book = book;
    this.#waits = waits;
  }

  /** @param account the user whose outages the call shows; `null` when it says nothing about one. */
  async make<Reply>(
    operation: Operation,
    account: Account | null,
    call: (mark: Mark) => Promise<Reply>,
  ): Promise<Outcome<Reply>> {
    const mark = { isRecalled: false };
    const begun = monotonicMs();
    const start = performance.now();
    try {
      const reply = await call(mark);
      this.#waits.ended(operation, start);
      count(this.tally, operation, 'done');
      // A near-cache answer says nothing about the servers.
      if (account !== null && !mark.isRecalled) this.#book.served(account, begun);
      return { ok: true, reply, sighting: { begun, settled: monotonicMs() }, begun, ...mark };
    } catch (error) {
      this.#waits.ended(operation, start);
      const code = error instanceof SessionError && error.status === 503 ? error.code : 'unexpected';
      count(this.tally, operation, code);
      if (code === 'unexpected') this.fail(operation, error);
      const isEnded = code === 'ERR_NOT_REPLICATED';
      if (account !== null) {
        if (isEnded) this.#book.served(account, begun);
        else this.#book.failed(account, begun);
      }
      return { ok: false, isEnded, begun };
    }
  }

  /** Checks a token, and marks a near-cache answer before it waits for anything. */
  read(operation: 'check' | 'touch', token: string, mark: Mark): Promise<FoundSession> {
    const hits = this.#manager.cacheStats?.hits;
    const session = operation === 'check' ? this.#manager.checkToken(token) : this.#manager.touchToken(token);
    mark.isRecalled = this.#manager.cacheStats?.hits !== hits;
    return session;
  }

  /** Checks that a session is the token's. @param device `null`: any device of the user. */
  verify(session: NonNullable<FoundSession>, token: string, userId: string, device: string | null): void {
    const loggedIn = session.attributes.device ?? '';
    const isTheirs =
      session.user.id === userId &&
      session.token === token &&
      session.id === idOf(token) &&
      (device === null ? loggedIn.startsWith(`${userId}#`) : loggedIn === device);
    if (isTheirs) return;
    this.mixedUp(`asked for ${device ?? userId}, got ${session.user.id} (${loggedIn}, session ${session.id})`);
  }

  mixedUp(note: string): void {
    if (this.mixUps.length < MAX_NOTES) this.mixUps.push(note);
  }

  fail(what: string, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (this.unexpected.length < MAX_NOTES) this.unexpected.push(`${what}: ${text}`);
  }
}

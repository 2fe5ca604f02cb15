import { SessionError } from '../../errors/session-error';
import { type TupleReply, tupleIn } from '../replies';
import type { ScriptName } from '../scripts/index';
import type { RedisConnection } from './connection';

/** Tries of a script that Redis refuses as too late: once more, with the time of the refusal. */
const MAX_ATTEMPTS = 3;

/**
 * Milliseconds before its deadline at which a call counts as too late, because Node's timers and Redis's clock are both
 * rounded. An answer may also be read that long after the deadline.
 */
const MARGIN_MS = 5;

/** A call on the sessions of one user. */
export interface UserCall {
  key: string;
  server: string;
  /** When the call must have settled, by `performance.now()`. */
  deadline: number;
}

/**
 * Gives a call of several parts the time of its last part again, if the answer to that was read after the deadline: it
 * had arrived before. No call fails because this process was held up. An answer that is only as late as timers may be
 * says nothing of that: the server was slow.
 */
export function extendIfReadLate(call: Pick<UserCall, 'deadline'>, partMs: number): void {
  const readAt = performance.now();
  if (readAt > call.deadline + MARGIN_MS) call.deadline = readAt + partMs;
}

/**
 * Runs scripts that do nothing once their caller has given up: they take a deadline by Redis's clock, and answer with
 * the time alone when they came too late. That may be by a clock that this process doesn't know yet. The refusal then
 * brings the time, and the script is tried again.
 */
export class DeadlineScripts {
  readonly #connection: RedisConnection;
  /**
   * Milliseconds from this process's monotonic clock to each server's. Never ahead unless that clock was set back: the
   * time in an answer is past when the answer arrives.
   */
  readonly #offsets = new Map<string, number>();

  constructor(connection: RedisConnection) {
    this.#connection = connection;
  }

  /** Forgets the clock of a server, or of all: another server may answer there from now on. */
  lost(server?: string): void {
    if (server === undefined) this.#offsets.clear();
    else this.#offsets.delete(server);
  }

  /**
   * @param call its `server` is set to the last target of the script.
   * @param argsUntil gives the arguments with the deadline by the server's clock; 0 before its first answer.
   */
  async run(call: UserCall, name: ScriptName, argsUntil: (latest: number) => (string | number)[]): Promise<TupleReply> {
    const margin = Math.min(MARGIN_MS, this.#connection.timeoutMs / 10);
    for (let tries = 0; tries < MAX_ATTEMPTS; tries++) {
      call.server = this.#connection.serverOf(call.key);
      const args = (heldUpMs: number) => {
        call.deadline += heldUpMs;
        const offset = this.#offsets.get(call.server);
        return argsUntil(offset === undefined ? 0 : Math.floor(call.deadline - margin + offset));
      };
      const left = Math.max(1, call.deadline - performance.now());
      const reply = tupleIn(await this.#connection.run<TupleReply>(name, [call.key], args, left));
      this.#offsets.set(this.#connection.serverOf(call.key), Number(reply[0]) - performance.now());
      extendIfReadLate(call, left);
      if (reply.length > 1) return reply;
    }
    throw new SessionError('ERR_STORE_TIMEOUT', 'Redis received this call after its deadline');
  }
}

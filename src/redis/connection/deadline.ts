import { SessionError } from '../../errors/session-error';
import type { TupleReply } from '../replies';
import type { ScriptName } from '../scripts/index';
import type { RedisConnection } from './connection';
import { ServerClock } from './server-clock';

/** Tries of a script that Redis refuses as too late: once more, with the time of the refusal. */
const MAX_ATTEMPTS = 3;

/**
 * Milliseconds before its deadline at which a call counts as too late, because Node's timers and Redis's clock are both
 * rounded.
 */
const MARGIN_MS = 5;

/** A call on the sessions of one user. */
export interface Call {
  key: string;
  /** Where it is sent. */
  server: string;
  /** When the call must have settled, by `performance.now()`. */
  deadline: number;
}

/** A script that takes a deadline by Redis's clock, and answers with the time alone when it came too late. */
export interface DeadlineScript {
  name: ScriptName;
  args(latest: number): (string | number)[];
}

/**
 * Runs scripts that do nothing once their caller has given up. A script may be too late by a clock that this process
 * doesn't know yet. The refusal then brings the time, and the script is tried again.
 */
export class DeadlineScripts {
  readonly #connection: RedisConnection;
  readonly #clock = new ServerClock();

  constructor(connection: RedisConnection) {
    this.#connection = connection;
  }

  /** What answers there from now on may be another server, with a clock of its own. */
  lost(server?: string): void {
    this.#clock.forget(server);
  }

  /** @param call its `server` is set to the last target of the script. */
  async run(call: Call, script: DeadlineScript): Promise<TupleReply> {
    const margin = Math.min(MARGIN_MS, this.#connection.timeoutMs / 10);
    for (let tries = 0; tries < MAX_ATTEMPTS; tries++) {
      call.server = this.#connection.serverOf(call.key);
      const args = (heldUpMs: number) => {
        call.deadline += heldUpMs;
        return script.args(this.#clock.at(call.server, call.deadline - margin));
      };
      const left = Math.max(1, call.deadline - performance.now());
      const reply = await this.#connection.run<TupleReply>(script.name, [call.key], args, left);
      this.#clock.learn(this.#connection.serverOf(call.key), Number(reply[0]));
      if (reply.length > 1) return reply;
      // An answer that is read after the deadline had arrived before. No call fails because this process was held up.
      const readAt = performance.now();
      if (readAt > call.deadline) call.deadline = readAt + left;
    }
    throw new SessionError('ERR_STORE_TIMEOUT', 'Redis received this call after its deadline');
  }
}

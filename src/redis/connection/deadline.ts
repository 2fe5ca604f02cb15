import { SessionError } from '../../errors/session-error';
import type { Timing } from '../replies';
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

/** A script that takes a deadline by Redis's clock. */
export interface DeadlineScript<Reply> {
  name: ScriptName;
  /** Default: the key of the call. */
  keys?: readonly [string, ...string[]];
  args(latest: number): (string | number)[];
  timing: Timing<Reply>;
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
  async run<Reply>(call: Call, script: DeadlineScript<Reply>): Promise<Reply> {
    const margin = Math.min(MARGIN_MS, this.#connection.timeoutMs / 10);
    for (let tries = 0; tries < MAX_ATTEMPTS; tries++) {
      call.server = this.#connection.serverOf(call.key);
      const args = (heldUpMs: number) => {
        call.deadline += heldUpMs;
        return script.args(this.#clock.at(call.server, call.deadline - margin));
      };
      const left = Math.max(1, call.deadline - performance.now());
      const reply = await this.#connection.run<Reply>(script.name, script.keys ?? [call.key], args, left);
      const refusedAt = script.timing.refusedAt(reply);
      const now = refusedAt ?? script.timing.answeredAt(reply);
      if (now !== null) this.#clock.learn(this.#connection.serverOf(call.key), now);
      if (refusedAt === null) return reply;
      // An answer that is read after the deadline had arrived before. No call fails because this process was held up.
      const readAt = performance.now();
      if (readAt > call.deadline) call.deadline = readAt + left;
    }
    throw new SessionError('ERR_STORE_TIMEOUT', 'Redis received this call after its deadline');
  }
}

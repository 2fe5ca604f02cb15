import { isErrorReply, isOneSlotOnly } from '../client/errors';
import type { ScriptCommand } from './script-commands';

/** Sessions that one script asks for, at most: Redis answers nobody else meanwhile. */
const MOST = 16;

/** One session: the user's keys, and the arguments of the script. */
interface Asked {
  keys: readonly [sessions: string, userInfo: string];
  args: readonly (string | number)[];
  resolve(reply: unknown): void;
  reject(reason: unknown): void;
}

/**
 * Asks for the sessions of all calls that are sent in one turn of the event loop by one run of a script: most of its
 * cost, for Redis and for this process, is to start it. In a Cluster that isn't possible, because users are on different
 * nodes.
 */
export class SessionsInOneScript {
  readonly #script: ScriptCommand;
  readonly #send = () => this.#sendWaiting();
  #waiting: Asked[] = [];
  /** Whether this server has refused keys of several users in one script: one node of a Cluster does. */
  #isOneByOne = false;

  constructor(script: ScriptCommand) {
    this.#script = script;
  }

  ask(keys: readonly [sessions: string, userInfo: string], args: readonly (string | number)[]): Promise<unknown> {
    if (this.#isOneByOne) return this.#script(keys.length, ...keys, ...args);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ keys, args, resolve, reject });
      if (this.#waiting.length >= MOST) this.#sendWaiting();
      else if (this.#waiting.length === 1) process.nextTick(this.#send);
    });
  }

  #sendWaiting(): void {
    const all = this.#waiting;
    if (all.length === 0) return;
    this.#waiting = [];
    if (all.length === 1) this.#sendAlone(all[0] as Asked);
    else this.#sendTogether(all);
  }

  #sendTogether(all: readonly Asked[]): void {
    const keys = [...all.map((asked) => asked.keys[0]), ...all.map((asked) => asked.keys[1])];
    const args = all.flatMap((asked) => asked.args);
    this.#script(keys.length, ...keys, ...args).then(
      (replies) => this.#settle(all, replies as unknown[]),
      (reason: unknown) => this.#fail(all, reason),
    );
  }

  #settle(all: readonly Asked[], replies: readonly unknown[]): void {
    for (const [index, asked] of all.entries()) {
      const reply = replies[index];
      if (isErrorReply(reply)) asked.reject(reply);
      // A proxy before several servers may have sent all keys to the server of the first one.
      else if (reply === null) this.#sendAlone(asked);
      else asked.resolve(reply);
    }
  }

  #fail(all: readonly Asked[], reason: unknown): void {
    this.#isOneByOne ||= isOneSlotOnly(reason);
    for (const asked of all) {
      if (this.#isOneByOne) this.#sendAlone(asked);
      else asked.reject(reason);
    }
  }

  #sendAlone({ keys, args, resolve, reject }: Asked): void {
    this.#script(keys.length, ...keys, ...args).then(resolve, reject);
  }
}

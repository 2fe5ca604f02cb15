import { isErrorReply } from '../client/errors';
import type { OneServer } from './one-server';
import type { SentCall } from './pending-calls';
import type { ScriptCommand } from './script-commands';

/** Sessions that one script asks for, at most: meanwhile Redis answers no other client. */
const MAX_SESSIONS = 16;

/** The user's keys, and the arguments of the script. */
interface SessionQuestion {
  keys: readonly [sessions: string, userInfo: string];
  args: readonly (string | number)[];
  call: Pick<SentCall, 'isAwaited'>;
}

interface Waiting extends SessionQuestion {
  resolve(reply: unknown): void;
  reject(reason: unknown): void;
}

/**
 * Asks for the sessions of all calls that are sent in one turn of the event loop by one run of a script. To start a
 * script is most of its cost, for Redis and for this process. Where users are on several servers, each call has its own
 * run.
 */
export class SessionsInOneScript {
  readonly #script: ScriptCommand;
  readonly #oneServer: OneServer;
  readonly #sendAll = () => this.sendAll();
  #waiting: Waiting[] = [];

  constructor(script: ScriptCommand, oneServer: OneServer) {
    this.#script = script;
    this.#oneServer = oneServer;
  }

  ask({ keys, args, call }: SessionQuestion): Promise<unknown> {
    return new Promise((resolve, reject) => {
      // A spread of the question takes V8 longer than all else of a check.
      this.#waiting.push({ keys, args, call, resolve, reject });
      if (this.#waiting.length >= MAX_SESSIONS) this.sendAll();
      else if (this.#waiting.length === 1) process.nextTick(this.#sendAll);
    });
  }

  /** Sends what waits. */
  sendAll(): void {
    const all = this.#waiting;
    if (all.length === 0) return;
    this.#waiting = [];
    if (all.length > 1 && this.#oneServer.holdsAllKeys()) this.#sendTogether(all);
    else for (const one of all) this.#sendAlone(one);
  }

  #sendTogether(all: readonly Waiting[]): void {
    // One array for all: spreads and maps take a tenth of a check.
    const given: Parameters<ScriptCommand> = [2 * all.length];
    for (const { keys } of all) given.push(keys[0]);
    for (const { keys } of all) given.push(keys[1]);
    for (const { args } of all) given.push(...args);
    this.#run(
      given,
      (replies) => this.#settle(all, replies),
      (reason) => this.#refuse(all, reason),
    );
  }

  #settle(all: readonly Waiting[], replies: unknown): void {
    if (!Array.isArray(replies) || replies.length !== all.length) {
      this.#refuse(all, new TypeError('the client gave no reply of the script'));
      return;
    }
    for (const [index, one] of all.entries()) {
      const reply: unknown = replies[index];
      if (isErrorReply(reply)) one.reject(reply);
      else one.resolve(reply);
    }
  }

  /** What Redis refuses may be a part of the script: then it answers the others. */
  #refuse(all: readonly Waiting[], reason: unknown): void {
    for (const one of all) {
      if (isErrorReply(reason) && one.call.isAwaited) this.#sendAlone(one);
      else one.reject(reason);
    }
  }

  #sendAlone({ keys, args, resolve, reject }: Waiting): void {
    this.#run([keys.length, ...keys, ...args], resolve, reject);
  }

  #run(given: Parameters<ScriptCommand>, resolve: (reply: unknown) => void, reject: (reason: unknown) => void): void {
    try {
      this.#script(...given).then(resolve, reject);
    } catch (error) {
      // Of a client that an application has changed.
      reject(error);
    }
  }
}

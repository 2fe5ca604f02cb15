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
  call: SentCall<unknown>;
}

/**
 * Asks for the sessions of all calls that are sent in one turn of the event loop by one run of a script. To start a
 * script is most of its cost, for Redis and for this process. Where users are on several servers, each call has its own
 * run.
 */
export class SessionsInOneScript {
  readonly #script: ScriptCommand;
  readonly #own: number;
  readonly #oneServer: OneServer;
  readonly #sendAll = () => this.sendAll();
  #waiting: SessionQuestion[] = [];

  /** @param own the number of arguments that each session has of its own. The others are the same for all of a run. */
  constructor(script: ScriptCommand, own: number, oneServer: OneServer) {
    this.#script = script;
    this.#own = own;
    this.#oneServer = oneServer;
  }

  /** Asks at the end of the turn, or when enough wait. Settles the call of the question. */
  ask(question: SessionQuestion): void {
    if (!this.#fits(question)) this.sendAll();
    this.#waiting.push(question);
    if (this.#waiting.length >= MAX_SESSIONS) this.sendAll();
    else if (this.#waiting.length === 1) process.nextTick(this.#sendAll);
  }

  /** Sends what waits. */
  sendAll(): void {
    const all = this.#waiting;
    if (all.length === 0) return;
    this.#waiting = [];
    if (all.length > 1 && this.#oneServer.holdsAllKeys()) this.#sendTogether(all);
    else for (const one of all) this.#sendAlone(one);
  }

  /** Whether a session can be asked for together with those that wait: its managers may have other options. */
  #fits({ args }: SessionQuestion): boolean {
    const [first] = this.#waiting;
    if (first === undefined) return true;
    for (let index = this.#own; index < args.length; index++) {
      if (args[index] !== first.args[index]) return false;
    }
    return true;
  }

  #sendTogether(all: readonly SessionQuestion[]): void {
    // One array for all: spreads and maps take a tenth of a check.
    const given: Parameters<ScriptCommand> = [2 * all.length];
    for (const { keys } of all) given.push(keys[0]);
    for (const { keys } of all) given.push(keys[1]);
    for (const { args } of all) {
      for (let index = 0; index < this.#own; index++) given.push(args[index] as string | number);
    }
    given.push(...(all[0] as SessionQuestion).args.slice(this.#own));
    this.#run(
      given,
      (replies) => this.#settle(all, replies),
      (reason) => this.#refuse(all, reason),
    );
  }

  #settle(all: readonly SessionQuestion[], replies: unknown): void {
    if (!Array.isArray(replies) || replies.length !== all.length) {
      this.#refuse(all, new TypeError('the client gave no reply of the script'));
      return;
    }
    for (const [index, one] of all.entries()) {
      const reply: unknown = replies[index];
      if (isErrorReply(reply)) one.call.refuse(reply);
      else one.call.succeed(reply);
    }
  }

  /** Redis may have refused the script for one session: it answers the others when each is asked for alone. */
  #refuse(all: readonly SessionQuestion[], reason: unknown): void {
    for (const one of all) {
      if (isErrorReply(reason) && one.call.isAwaited) this.#sendAlone(one);
      else one.call.refuse(reason);
    }
  }

  #sendAlone({ keys, args, call }: SessionQuestion): void {
    this.#run(
      [keys.length, ...keys, ...args],
      (reply) => call.succeed(reply),
      (reason) => call.refuse(reason),
    );
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

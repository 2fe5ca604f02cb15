import type { Redis } from 'ioredis';
import { SessionError } from '../../errors/session-error';
import { isErrorReply } from '../client/errors';
import { CallsInFlight } from './calls-in-flight';
import { TurnQueue } from './commands-in-one-write';
import type { Readiness } from './readiness';

/** A turn of the event loop that takes longer is one in which something held the process up. */
const LONGEST_TURN_MS = 50;

/** The part of its deadline that a call which waits for others must have left when it is sent. */
const RESERVE = 0.5;

/** The server that a call goes to, and what the call shows of it. */
export interface Destination {
  /** The server that it goes to now. */
  server(): string;
  /** It has answered, if only with an error. */
  answered?(): void;
  /** @param reason what the client gave; the error itself where this package made it. */
  failed?(error: SessionError, reason: unknown): void;
}

/**
 * Sends something. `heldUpMs`: for how long this process was held up between the call and its sending, 0 when it
 * wasn't.
 */
export type SendCommand<Reply> = (heldUpMs: number) => Promise<Reply>;

/**
 * Settles each call within its deadline, which begins with the call: it takes in waiting for a connection, for other
 * calls, and for the answer. What holds this process up is held against no call: an answer that has arrived counts,
 * however late it is read.
 */
export class PendingCalls {
  readonly #readiness: Readiness;
  readonly #turn: TurnQueue;
  /** Of each server: one that is slow holds up no calls to another. */
  readonly #inFlight = new Map<string, CallsInFlight>();
  readonly #errorOf: (reason: unknown, server?: string) => SessionError;
  #count = 0;
  #onSettled: (() => void) | null = null;
  #isClosed = false;

  /**
   * @param clients those that anything may be sent over now.
   * @param errorOf makes the error of what a client gave.
   */
  constructor(
    readiness: Readiness,
    clients: () => readonly Redis[],
    errorOf: (reason: unknown, server?: string) => SessionError,
  ) {
    this.#readiness = readiness;
    this.#errorOf = errorOf;
    this.#turn = new TurnQueue(clients);
  }

  add<Reply>(command: SendCommand<Reply>, timeoutMs: number, destination?: Destination): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let deadline = performance.now() + timeoutMs;
      let isSettled = false;
      /** Where it is in flight; `null` while it isn't. */
      let inFlight: CallsInFlight | null = null;
      /** When it was ready to be sent, while it waits for the turn of the event loop to end. */
      let queuedAt: number | null = null;

      const settle = () => {
        isSettled = true;
        clearTimeout(timer);
        inFlight?.settled();
        this.#count--;
        this.#onSettled?.();
      };
      const succeed = (reply: Reply) => {
        if (isSettled) return;
        settle();
        destination?.answered?.();
        resolve(reply);
      };
      const fail = (reason: unknown) => {
        if (isSettled) return;
        settle();
        const error = reason instanceof SessionError ? reason : this.#errorOf(reason, destination?.server());
        if (isErrorReply(reason)) destination?.answered?.();
        else destination?.failed?.(error, reason);
        reject(error);
      };

      const overdue = () => fail(new SessionError('ERR_STORE_TIMEOUT', noAnswerWithin(timeoutMs)));
      const onTimer = () => {
        const left = deadline - performance.now();
        if (queuedAt !== null || left > 0) timer = setTimeout(onTimer, Math.max(1, left));
        // Node runs timers before it reads sockets: the answer may be here and not yet read.
        else setImmediate(overdue);
      };
      let timer = setTimeout(onTimer, timeoutMs);

      const start = () => {
        if (!this.#readiness.isReady) return void this.#readiness.whenReady().then(start).catch(fail);
        queuedAt = performance.now();
        this.#turn.add(onTurn);
      };
      const onTurn = () => {
        const waitedMs = performance.now() - (queuedAt ?? 0);
        const heldUpMs = waitedMs > LONGEST_TURN_MS ? waitedMs : 0;
        queuedAt = null;
        deadline += heldUpMs;
        const calls = this.#callsTo(destination?.server() ?? '');
        const send = () => {
          if (isSettled) return false;
          if (!this.#readiness.isReady) {
            start();
            return false;
          }
          inFlight = calls;
          try {
            command(heldUpMs).then(succeed, fail);
          } catch (error) {
            fail(error);
          }
          return true;
        };
        calls.add({ send, refuse: fail, until: deadline - RESERVE * timeoutMs });
      };

      this.#count++;
      if (this.#isClosed) fail(new SessionError('ERR_STORE_UNAVAILABLE', 'the store is closed'));
      else start();
    });
  }

  #callsTo(server: string): CallsInFlight {
    const calls = this.#inFlight.get(server) ?? new CallsInFlight();
    this.#inFlight.set(server, calls);
    return calls;
  }

  /** Refuses further calls. Resolves when all have settled. */
  close(): Promise<void> {
    this.#isClosed = true;
    return new Promise((resolve) => {
      this.#onSettled = () => {
        if (this.#count === 0) resolve();
      };
      this.#onSettled();
    });
  }
}

function noAnswerWithin(timeoutMs: number): string {
  return `Redis gave no answer within ${Math.round(timeoutMs)} ms`;
}

import type { Redis } from 'ioredis';
import { SessionError, storeClosed } from '../../errors/session-error';
import { isErrorReply } from '../client/errors';
import { CallsInFlight, type WaitingCall } from './calls-in-flight';
import { CommandsInOneWrite, type QueuedCall } from './commands-in-one-write';
import type { Readiness } from './readiness';

/** Milliseconds of a turn of the event loop beyond which the process counts as held up. */
const LONGEST_TURN_MS = 50;

/** The part of its deadline that a waiting call must have left when it is sent. */
const RESERVE = 0.5;

/** The server of a call, and its reactions to the call's outcome. */
export interface Destination {
  server(): string;
  /** The server has answered, also with an error. */
  answered?(): void;
  /** @param reason the client's error; or the error itself where this package made it. */
  failed?(error: SessionError, reason: unknown): void;
}

/** A call that is being sent. */
export interface SentCall<Reply> {
  /** Milliseconds that this process was held up between call and sending; 0 for none. */
  readonly heldUpMs: number;
  /** Whether its caller still waits for an answer, and there is a connection. */
  readonly isAwaited: boolean;
  succeed(reply: Reply): void;
  refuse(reason: unknown): void;
}

/** Sends a call. Returns nothing where it settles the call itself, which spares a promise for each call. */
type SendCommand<Reply> = (call: SentCall<Reply>) => Promise<Reply> | undefined;

/**
 * Settles each call within its deadline. The deadline begins with the call, and includes the wait for a connection, for
 * other calls and for the answer. A delay of this process fails no call: an answer that has arrived counts, however
 * late the process reads it.
 */
export class PendingCalls {
  readonly readiness: Readiness;
  readonly turn: CommandsInOneWrite;
  readonly errorOf: (reason: unknown, server?: string) => SessionError;
  /** By server, so that a slow one delays no calls to another. */
  readonly #inFlight = new Map<string, CallsInFlight>();
  #count = 0;
  #onSettled: (() => void) | null = null;
  #isClosed = false;

  /**
   * @param clients the clients that may send now.
   * @param afterTurn is called when the calls of a turn of the event loop have been sent.
   * @param errorOf makes the error for a client's error.
   */
  constructor(
    readiness: Readiness,
    clients: () => readonly Redis[],
    afterTurn: () => void,
    errorOf: (reason: unknown, server?: string) => SessionError,
  ) {
    this.readiness = readiness;
    this.errorOf = errorOf;
    this.turn = new CommandsInOneWrite(clients, afterTurn);
  }

  add<Reply>(command: SendCommand<Reply>, timeoutMs: number, destination: Destination | null = null): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const call = new PendingCall(this, command, timeoutMs, destination, resolve, reject);
      this.#count++;
      if (this.#isClosed) call.refuse(storeClosed());
      else call.start();
    });
  }

  callsTo(server: string): CallsInFlight {
    let calls = this.#inFlight.get(server);
    if (calls === undefined) {
      calls = new CallsInFlight();
      this.#inFlight.set(server, calls);
    }
    return calls;
  }

  get count(): number {
    return this.#count;
  }

  settled(): void {
    this.#count--;
    this.#onSettled?.();
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

/** One call. A class, because closures for each call would cost more than all else here. */
class PendingCall<Reply> implements WaitingCall, QueuedCall, SentCall<Reply> {
  until = 0;
  heldUpMs = 0;
  readonly #calls: PendingCalls;
  readonly #command: SendCommand<Reply>;
  readonly #timeoutMs: number;
  readonly #destination: Destination | null;
  readonly #resolve: (reply: Reply) => void;
  readonly #reject: (error: SessionError) => void;
  #timer: NodeJS.Timeout;
  #deadline: number;
  /** When the call was ready to be sent; it waits for the end of the turn. */
  #queuedAt: number | null = null;
  /** The server that the call is in flight to; `null` for none. */
  #inFlight: CallsInFlight | null = null;
  #isSettled = false;

  constructor(
    calls: PendingCalls,
    command: SendCommand<Reply>,
    timeoutMs: number,
    destination: Destination | null,
    resolve: (reply: Reply) => void,
    reject: (error: SessionError) => void,
  ) {
    this.#calls = calls;
    this.#command = command;
    this.#timeoutMs = timeoutMs;
    this.#destination = destination;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#deadline = performance.now() + timeoutMs;
    this.#timer = setTimeout(onTimer, timeoutMs, this);
  }

  start(): void {
    const { readiness, turn } = this.#calls;
    if (!readiness.isReadyForCall()) this.#startWhenReady();
    else {
      this.#queuedAt = performance.now();
      turn.add(this, this.#calls.count === 1);
    }
  }

  onTurn(now: number): void {
    const waitedMs = now - (this.#queuedAt ?? 0);
    this.heldUpMs = waitedMs > LONGEST_TURN_MS ? waitedMs : 0;
    this.#queuedAt = null;
    this.#deadline += this.heldUpMs;
    this.until = this.#deadline - RESERVE * this.#timeoutMs;
    this.#calls.callsTo(this.#destination?.server() ?? '').add(this);
  }

  get isAwaited(): boolean {
    return !this.#isSettled && this.#calls.readiness.isConnected;
  }

  send(inFlight: CallsInFlight): boolean {
    if (this.#isSettled) return false;
    if (!this.#calls.readiness.isConnected) {
      this.#startWhenReady();
      return false;
    }
    this.#inFlight = inFlight;
    try {
      this.#command(this)?.then(
        (reply) => this.succeed(reply),
        (reason: unknown) => this.refuse(reason),
      );
    } catch (error) {
      this.refuse(error);
    }
    return true;
  }

  succeed(reply: Reply): void {
    if (this.#isSettled) return;
    this.#settle();
    this.#destination?.answered?.();
    this.#resolve(reply);
  }

  refuse(reason: unknown): void {
    if (this.#isSettled) return;
    this.#settle();
    const destination = this.#destination;
    const error = reason instanceof SessionError ? reason : this.#calls.errorOf(reason, destination?.server());
    if (isErrorReply(reason)) destination?.answered?.();
    else destination?.failed?.(error, reason);
    this.#reject(error);
  }

  /** The timer has fired: the deadline is over, unless it was extended meanwhile. */
  overdue(): void {
    const left = this.#deadline - performance.now();
    if (this.#queuedAt !== null || left > 0) this.#timer = setTimeout(onTimer, Math.max(1, left), this);
    // Node runs timers before sockets: the answer may wait unread.
    else setImmediate(() => this.refuse(new SessionError('ERR_STORE_TIMEOUT', noAnswerWithin(this.#timeoutMs))));
  }

  #startWhenReady(): void {
    const start = () => this.start();
    this.#calls.readiness
      .whenReady()
      .then(start)
      .catch((reason: unknown) => this.refuse(reason));
  }

  #settle(): void {
    this.#isSettled = true;
    clearTimeout(this.#timer);
    this.#inFlight?.settled();
    this.#calls.settled();
  }
}

function onTimer(call: Pick<PendingCall<never>, 'overdue'>): void {
  call.overdue();
}

function noAnswerWithin(timeoutMs: number): string {
  return `Redis gave no answer within ${Math.round(timeoutMs)} ms`;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, Command, type Redis, type RedisOptions } from 'ioredis';
import { SessionError } from '../errors/session-error';
import { askingsOf, catchAsking } from './asking';
import { CircuitBreaker } from './circuit-breaker';
import { SILENCE_FACTOR } from './client';
import { TurnQueue } from './commands-in-one-write';
import { isConnectionLoss, isErrorReply, isSplitSlot, sessionErrorOf } from './errors';
import { addressOf, Readiness, type ServerWatcher } from './readiness';
import { defineScripts, type ScriptCommands } from './script-commands';
import type { ScriptName } from './scripts/index';
import { SlotOwners } from './slot-owners';

interface ConnectionOptions {
  /** Whether the client is ours to listen to and to close. */
  owned: boolean;
  timeoutMs: number;
}

/**
 * Arguments of a script, as they are or as they have to be when it is sent: `heldUpMs` is for how long this process was held up between the call and
 * that, 0 when it wasn't.
 */
export type ScriptArguments = readonly (string | number)[] | ((heldUpMs: number) => readonly (string | number)[]);

/** What a call tells of the server it went to. */
interface Outcome {
  /** Where it went. */
  server(): string;
  answered(): void;
  unanswered(error: SessionError): void;
}

/** Who wants to know when servers may have changed. */
export interface ConnectionWatcher {
  lost: ServerWatcher['lost'];
  /** As a {@link ServerWatcher}'s; and whether slots of a Cluster have other owners now. */
  changed(haveSlotsMoved: boolean): void;
}

/** A Redis that is not one of a Cluster, and so has no address that matters. */
const THE_SERVER = 'redis';

/** A turn of the event loop that takes longer is one in which something held the process up. */
const LONGEST_TURN_MS = 50;

/** Deadlines after which a probe that has no answer is given up for another. ioredis may drop a command without a word. */
const PROBE_FACTOR = 5;

/**
 * Runs scripts and commands on a client so that each settles within the deadline, which begins with the call: it takes in waiting for
 * a connection, queues and redirections. A circuit breaker, one for each server, spares calls the wait for one that leaves them unanswered.
 */
export class RedisConnection {
  readonly timeoutMs: number;
  readonly #client: Redis | Cluster;
  /** The same client, when it is one of a Cluster. */
  readonly #cluster: Cluster | null;
  readonly #owned: boolean;
  readonly #scripts: ScriptCommands;
  readonly #readiness: Readiness;
  readonly #breaker = new CircuitBreaker();
  #watcher: ConnectionWatcher | null = null;
  /** The masters of a Cluster. */
  #masters = '';
  /** How often other servers may have taken over. */
  #epoch = 0;
  readonly #turn: TurnQueue;
  readonly #slots = new SlotOwners();
  #callsUnderWay = 0;
  #onCallSettled: (() => void) | null = null;
  #closed: Promise<void> | null = null;

  constructor(client: Redis | Cluster, { owned, timeoutMs }: ConnectionOptions) {
    this.timeoutMs = timeoutMs;
    this.#client = client;
    this.#cluster = client.isCluster ? (client as Cluster) : null;
    this.#owned = owned;
    if (this.#cluster !== null) catchAsking(this.#cluster);
    this.#scripts = defineScripts(client);
    this.#turn = new TurnQueue(() => this.#cluster?.nodes('master') ?? [client as Redis]);
    const watcher: ServerWatcher = {
      lost: (server) => this.#watcher?.lost(server),
      changed: () => {
        this.#lookForNewMasters();
        this.#watcher?.changed(this.#cluster !== null && this.#slots.haveMoved(this.#cluster.slots));
      },
    };
    this.#readiness = new Readiness(client, owned, watcher, timeoutMs);
  }

  /** What the client puts in front of every key. */
  get keyPrefix(): string {
    return this.#client.options.keyPrefix ?? '';
  }

  /** A key, as it has to be given to one server's client: a node of a Cluster doesn't know of the prefix that the Cluster has. */
  keyOn(redis: Redis, key: string): string {
    return redis.options.keyPrefix ? key : this.keyPrefix + key;
  }

  /** How often a call was sent on to a node that its slot is just being moved to. */
  get detours(): number {
    return this.#cluster === null ? 0 : askingsOf(this.#cluster);
  }

  get isReady(): boolean {
    return this.#closed === null && this.#readiness.isConnected;
  }

  /** Tells one watcher of every change of servers from now on. */
  watch(watcher: ConnectionWatcher): void {
    this.#watcher = watcher;
  }

  /** The server that a key's calls go to: of a Cluster, as far as the client knows, the master that owns its slot. */
  serverOf(key: string): string {
    if (this.#cluster === null) return THE_SERVER;
    const slot = new Command('GET', [this.keyPrefix + key]).getSlot();
    return this.#cluster.slots[slot]?.[0] ?? '';
  }

  /** Every server that calls may go to, as far as the client knows. */
  servers(): string[] {
    if (this.#cluster === null) return [THE_SERVER];
    // Slots that nobody owns are holes, which flatMap leaves out.
    return [...new Set(this.#cluster.slots.flatMap((owners) => owners?.[0] ?? []))];
  }

  /** The client of one of {@link servers}; `null` when there is none, or none any more. */
  clientOf(server: string): Redis | null {
    if (this.#cluster === null) return this.#client as Redis;
    return this.#cluster.nodes('master').find((node) => addressOf(node) === server) ?? null;
  }

  /** A further connection to one of {@link servers}, whoever asks for it has to close it; `null` when there is none to it now. */
  connectTo(server: string, options: Pick<RedisOptions, 'retryStrategy'>): Redis | null {
    const { timeoutMs } = this;
    const bounds = {
      ...options,
      lazyConnect: false,
      enableOfflineQueue: true,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      maxRetriesPerRequest: 0,
      connectTimeout: timeoutMs,
      disconnectTimeout: timeoutMs,
      socketTimeout: SILENCE_FACTOR * timeoutMs,
      // The client hears of promotions, and then this connection is given up.
      failoverDetector: false,
      // A Cluster keeps its prefix to itself, and gives its nodes whole keys.
      keyPrefix: this.keyPrefix,
    };
    const redis = this.clientOf(server)?.duplicate(bounds) ?? null;
    // Who waits for an answer is told; and without a listener, ioredis prints it.
    redis?.on('error', () => undefined);
    return redis;
  }

  /** Resolves when there is a connection, rejects when there is none within the deadline. */
  ready(): Promise<void> {
    return this.#settleInTime(() => Promise.resolve(), this.timeoutMs, null);
  }

  /** Runs a script. While a Cluster moves the keys to another node one by one, on the first of them alone. */
  run<Reply>(
    name: ScriptName,
    keys: readonly [string, ...string[]],
    args: ScriptArguments,
    timeoutMs = this.timeoutMs,
  ): Promise<Reply> {
    const script = this.#scripts[name] as (...args: (string | number)[]) => Promise<Reply>;
    const call = (heldUpMs: number) => {
      const given = typeof args === 'function' ? args(heldUpMs) : args;
      const reply = script(keys.length, ...keys, ...given);
      if (this.#cluster === null || keys.length === 1) return reply;
      return reply.catch((error: unknown) => {
        if (!isSplitSlot(error)) throw error;
        return script(1, keys[0], ...given);
      });
    };
    return this.#sendOn(keys[0], call, timeoutMs);
  }

  /** Sends what the function sends, once the client is ready, to the server that holds the key. */
  send<Reply>(
    key: string,
    command: (client: Redis | Cluster) => Promise<Reply>,
    timeoutMs = this.timeoutMs,
  ): Promise<Reply> {
    return this.#sendOn(key, () => command(this.#client), timeoutMs);
  }

  #sendOn<Reply>(key: string, command: (heldUpMs: number) => Promise<Reply>, timeoutMs: number): Promise<Reply> {
    if (!this.#breaker.isIdle) {
      const refusal = this.#breaker.refusal(this.serverOf(key));
      if (refusal !== null) return Promise.reject(refusal);
    }
    const epoch = this.#epoch;
    return this.#settleInTime(command, timeoutMs, {
      server: () => this.serverOf(key),
      answered: () => {
        if (!this.#breaker.isIdle && epoch === this.#epoch) this.#breaker.answered(this.serverOf(key));
      },
      unanswered: (error) => {
        // A server is not to blame for what its predecessor left unanswered.
        if (this.#closed !== null || epoch !== this.#epoch) return;
        this.#breaker.unanswered(this.serverOf(key), error, () => this.#probe(key));
      },
    });
  }

  /** Runs a script on one key. Whether it is answered says nothing of the server to the circuit breaker, nor the other way round. */
  runAside(name: ScriptName, key: string, args: readonly (string | number)[]): Promise<unknown> {
    return this.#settleInTime(() => this.#scripts[name](1, key, ...args), this.timeoutMs, null);
  }

  /** Sends what the function sends to one of {@link servers}. */
  sendTo<Reply>(server: string, command: (redis: Redis) => Promise<Reply>, timeoutMs = this.timeoutMs): Promise<Reply> {
    const refusal = this.#breaker.refusal(server);
    if (refusal !== null) return Promise.reject(refusal);
    const send = async () => {
      const redis = this.clientOf(server);
      if (redis === null) throw new SessionError('ERR_STORE_UNAVAILABLE', 'there is no connection to it');
      return command(redis).catch((error: unknown) => {
        throw this.#errorOf(error, server);
      });
    };
    return this.#settleInTime(send, timeoutMs, null);
  }

  /** Waits for the answers under way, as long as the slowest may take, and closes the client if it is ours. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #settleInTime<Reply>(
    command: (heldUpMs: number) => Promise<Reply>,
    timeoutMs: number,
    outcome: Outcome | null,
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let isSettled = false;
      const settle = () => {
        isSettled = true;
        clearTimeout(timer);
        this.#callsUnderWay--;
        this.#onCallSettled?.();
      };
      const overdue = () => {
        if (isSettled) return;
        settle();
        const message = `Redis gave no answer within ${Math.round(timeoutMs)} ms`;
        const error = new SessionError('ERR_STORE_TIMEOUT', message);
        outcome?.unanswered(error);
        reject(error);
      };
      let deadline = performance.now() + timeoutMs;
      /** When it was ready to be sent, while it waits for the turn of the event loop to end. */
      let queuedAt: number | null = null;
      const onTimer = () => {
        const left = deadline - performance.now();
        if (queuedAt !== null || left > 0) timer = setTimeout(onTimer, Math.max(1, left));
        // Timers go before sockets: when this process itself was held up, the answer may be here and not yet read.
        else setImmediate(overdue);
      };
      let timer = setTimeout(onTimer, timeoutMs);
      const succeed = (reply: Reply) => {
        if (isSettled) return;
        settle();
        outcome?.answered();
        resolve(reply);
      };
      const fail = (reason: unknown) => {
        if (isSettled) return;
        settle();
        const error = reason instanceof SessionError ? reason : this.#errorOf(reason, outcome?.server());
        // Between the nodes of a Cluster there is no waiting for a connection: each call would try the dead one anew.
        const isBroken = this.#cluster !== null && reason !== error;
        if (isErrorReply(reason)) outcome?.answered();
        else if (isBroken || error.code === 'ERR_STORE_TIMEOUT') outcome?.unanswered(error);
        reject(error);
      };
      const send = () => {
        if (isSettled) return;
        const waitedMs = performance.now() - (queuedAt ?? 0);
        // What held this process up is held against nobody else.
        const heldUpMs = waitedMs > LONGEST_TURN_MS ? waitedMs : 0;
        queuedAt = null;
        deadline += heldUpMs;
        if (!this.#readiness.isReady) return void this.#readiness.whenReady().then(start).catch(fail);
        try {
          command(heldUpMs).then(succeed, fail);
        } catch (error) {
          fail(error);
        }
      };
      const start = () => {
        queuedAt = performance.now();
        this.#turn.add(send);
      };
      this.#callsUnderWay++;
      if (this.#closed !== null) fail(new SessionError('ERR_STORE_UNAVAILABLE', 'the store is closed'));
      else if (this.#readiness.isReady) start();
      else this.#readiness.whenReady().then(start).catch(fail);
    });
  }

  #errorOf(reason: unknown, server?: string): SessionError {
    const otherwise = isConnectionLoss(reason) ? 'the connection to Redis broke' : undefined;
    return sessionErrorOf(this.#readiness.causeOf(reason, server), otherwise);
  }

  /** Whether the server of this key answers in time, were it with an error. */
  async #probe(key: string): Promise<boolean> {
    if (!this.#readiness.isConnected) return false;
    const start = performance.now();
    // A check of no session, and not a plain read, which a client may send to a replica.
    const isAnswered = this.#scripts.check(1, key, '').then(() => true, isErrorReply);
    const givenUp = sleep(PROBE_FACTOR * this.timeoutMs, false, { ref: false });
    return (await Promise.race([isAnswered, givenUp])) && performance.now() - start <= this.timeoutMs;
  }

  /** What was sent before says nothing of a single Redis to which there is a new connection, nor of a Cluster's new masters. */
  #lookForNewMasters(): void {
    const masters = this.servers().join();
    if (this.#cluster === null) this.#breaker.reset();
    if (this.#cluster === null || masters !== this.#masters) this.#epoch++;
    this.#masters = masters;
  }

  async #close(): Promise<void> {
    if (this.#owned) await this.#callsSettled();
    this.#breaker.reset();
    this.#watcher = null;
    // An owned client goes on to report how it ends, and an error without a listener is printed.
    if (this.#owned && this.#client.status !== 'end') this.#client.disconnect();
    else this.#readiness.stop();
  }

  #callsSettled(): Promise<void> {
    return new Promise((resolve) => {
      this.#onCallSettled = () => {
        if (this.#callsUnderWay === 0) resolve();
      };
      this.#onCallSettled();
    });
  }
}

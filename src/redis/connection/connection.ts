import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, Command, type Redis, type RedisOptions } from 'ioredis';
import { SessionError } from '../../errors/session-error';
import { askingsOf } from '../client/asking';
import { SILENCE_FACTOR } from '../client/client';
import { askForCredentials, connectQuietly, credentialsOf } from '../client/credentials';
import { isConnectionLoss, isErrorReply, isSplitSlot, sessionErrorOf } from '../client/errors';
import { correctFalseReady } from '../client/false-ready';
import { mendConnection } from '../client/mended-connection';
import type { ScriptName } from '../scripts/index';
import { CircuitBreaker } from './circuit-breaker';
import { type Destination, PendingCalls } from './pending-calls';
import { addressOf, Readiness, type ServerWatcher } from './readiness';
import { defineScripts, type ScriptCommands } from './script-commands';
import { SlotOwners } from './slot-owners';

interface ConnectionOptions {
  /** Whether the client is ours to listen to and to close. */
  owned: boolean;
  timeoutMs: number;
}

/**
 * Arguments of a script, as they are or as they have to be when it is sent: `heldUpMs` is for how long this process was
 * held up between the call and that, 0 when it wasn't.
 */
export type ScriptArguments = readonly (string | number)[] | ((heldUpMs: number) => readonly (string | number)[]);

/** Who wants to know when servers may have changed. */
export interface ConnectionWatcher {
  lost: ServerWatcher['lost'];
  /** As a {@link ServerWatcher}'s; and whether slots of a Cluster have other owners now. */
  changed(haveSlotsMoved: boolean): void;
  databaseChanged: ServerWatcher['databaseChanged'];
}

/** A Redis that is not one of a Cluster, and so has no address that matters. */
const THE_SERVER = 'redis';

/**
 * Deadlines after which a probe that has no answer is given up for another. ioredis may drop a command without a word.
 */
const PROBE_FACTOR = 5;

/**
 * Runs scripts and commands on a client so that each settles within the deadline, which begins with the call: it takes
 * in waiting for a connection, queues and redirections. A circuit breaker, one for each server, spares calls the wait
 * for one that leaves them unanswered.
 */
export class RedisConnection {
  readonly timeoutMs: number;
  readonly #client: Redis | Cluster;
  /** The same client, when it is one of a Cluster. */
  readonly #cluster: Cluster | null;
  readonly #owned: boolean;
  readonly #scripts: ScriptCommands;
  readonly #readiness: Readiness;
  readonly #serverWatcher: ServerWatcher = {
    lost: (server) => this.#watcher?.lost(server),
    changed: () => {
      this.#lookForNewMasters();
      this.#watcher?.changed(this.#cluster !== null && this.#slots.haveMoved(this.#cluster.slots));
    },
    databaseChanged: () => this.#watcher?.databaseChanged(),
  };
  readonly #breaker = new CircuitBreaker();
  #watcher: ConnectionWatcher | null = null;
  /** The masters of a Cluster. */
  #masters = '';
  /** How often other servers may have taken over. */
  #epoch = 0;
  readonly #calls: PendingCalls;
  readonly #slots = new SlotOwners();
  #closed: Promise<void> | null = null;

  constructor(client: Redis | Cluster, { owned, timeoutMs }: ConnectionOptions) {
    this.timeoutMs = timeoutMs;
    this.#client = client;
    this.#cluster = client.isCluster ? (client as Cluster) : null;
    this.#owned = owned;
    this.#scripts = defineScripts(client);
    this.#readiness = Readiness.of(client, owned, timeoutMs);
    this.#readiness.watch(this.#serverWatcher);
    this.#calls = new PendingCalls(
      this.#readiness,
      () => this.#cluster?.nodes('master') ?? [client as Redis],
      (reason, server) => this.#errorOf(reason, server),
    );
  }

  /** A key, or a channel, as Redis has it: with what the client puts in front of every key. */
  whole(name: string): string {
    return `${this.#client.options.keyPrefix ?? ''}${name}`;
  }

  /**
   * A key as a command needs it that is given to one of the clients itself: the nodes of a Cluster may lack its prefix.
   */
  keyFor(redis: Redis, key: string): string {
    return redis.options.keyPrefix ? key : this.whole(key);
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
    const slot = new Command('GET', [this.whole(key)]).getSlot();
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

  /**
   * A further connection to one of {@link servers}, to the same keys and database, with the credentials that the client
   * has at each attempt to connect. The caller has to close it. `null` when there is no connection to that server now.
   */
  connectTo(server: string, options: Pick<RedisOptions, 'retryStrategy'>): Redis | null {
    const { timeoutMs } = this;
    const source = this.clientOf(server);
    if (source === null) return null;
    const redis = source.duplicate({
      ...options,
      lazyConnect: true,
      enableOfflineQueue: true,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      enableAutoPipelining: false,
      readOnly: false,
      maxRetriesPerRequest: 0,
      connectTimeout: timeoutMs,
      // It is given up only when its answers don't matter. Longer would keep a process that ends in an outage from
      // ending.
      disconnectTimeout: 0,
      socketTimeout: SILENCE_FACTOR * timeoutMs,
      ...(source.options.commandTimeout !== undefined && { commandTimeout: SILENCE_FACTOR * timeoutMs }),
      // The client follows promotions; this connection is given up at one.
      failoverDetector: false,
      keyPrefix: this.whole(''),
      ...(this.#cluster === null && { db: this.#readiness.database }),
    });
    mendConnection(redis);
    // Callers get their errors by their calls; without a listener, ioredis prints them.
    redis.on('error', () => undefined);
    redis.on('ready', () => correctFalseReady(redis));
    askForCredentials(redis, () => credentialsOf(this.clientOf(server) ?? source));
    connectQuietly(redis);
    return redis;
  }

  /** Resolves when there is a connection, rejects when there is none within the deadline. */
  ready(): Promise<void> {
    return this.#calls.add(() => Promise.resolve(), this.timeoutMs);
  }

  /** Runs a script. While a Cluster moves the keys to another node one by one, on the first of them alone. */
  run<Reply>(
    name: ScriptName,
    keys: readonly [string, ...string[]],
    args: ScriptArguments,
    timeoutMs = this.timeoutMs,
  ): Promise<Reply> {
    const [key] = keys;
    if (!this.#breaker.isIdle) {
      const refusal = this.#breaker.refusal(this.serverOf(key));
      if (refusal !== null) return Promise.reject(refusal);
    }
    const script = this.#scripts[name] as (...args: (string | number)[]) => Promise<Reply>;
    const command = (heldUpMs: number) => {
      const given = typeof args === 'function' ? args(heldUpMs) : args;
      const reply = script(keys.length, ...keys, ...given);
      if (this.#cluster === null || keys.length === 1) return reply;
      return reply.catch((error: unknown) => {
        if (!isSplitSlot(error)) throw error;
        return script(1, key, ...given);
      });
    };
    return this.#calls.add(command, timeoutMs, new KeyDestination(this, key, this.#epoch));
  }

  /** A call on a key was answered. */
  answered(key: string, epoch: number): void {
    if (!this.#breaker.isIdle && epoch === this.#epoch) this.#breaker.answered(this.serverOf(key));
  }

  /** A call on a key has failed. */
  failed(key: string, epoch: number, error: SessionError, reason: unknown): void {
    // Between the nodes of a Cluster there is no waiting for a connection: each call would try the dead one anew.
    const isBroken = this.#cluster !== null && reason !== error;
    // A server is not to blame for what its predecessor left unanswered.
    if (this.#closed !== null || epoch !== this.#epoch) return;
    if (error.code !== 'ERR_STORE_TIMEOUT') {
      // Nor for what the client refused by itself, while its connection is well.
      if (!isBroken || this.clientOf(this.serverOf(key))?.status === 'ready') return;
    }
    this.#breaker.unanswered(this.serverOf(key), error, () => this.#probe(key));
  }

  /**
   * Runs a script on one key. Whether it is answered says nothing of the server to the circuit breaker, nor the other
   * way round.
   */
  runAside(name: ScriptName, key: string, args: readonly (string | number)[]): Promise<unknown> {
    const destination = { server: () => this.serverOf(key) };
    return this.#calls.add(() => this.#scripts[name](1, key, ...args), this.timeoutMs, destination);
  }

  /** Sends what the function sends to one of {@link servers}. */
  sendTo<Reply>(server: string, command: (redis: Redis) => Promise<Reply>, timeoutMs = this.timeoutMs): Promise<Reply> {
    const refusal = this.#breaker.refusal(server);
    if (refusal !== null) return Promise.reject(refusal);
    const send = async () => {
      const redis = this.clientOf(server);
      if (redis === null) throw new SessionError('ERR_STORE_UNAVAILABLE', 'there is no connection to it');
      return command(redis);
    };
    return this.#calls.add(send, timeoutMs, { server: () => server });
  }

  /** Waits for the calls in flight, as long as the slowest may take, and closes the client if it is ours. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
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
    const givenUp = sleep(PROBE_FACTOR * this.timeoutMs, false, { ref: false }).then(() => nextTurn(false));
    return (await Promise.race([isAnswered, givenUp])) && performance.now() - start <= this.timeoutMs;
  }

  /**
   * What was sent before says nothing of a single Redis to which there is a new connection, nor of a Cluster's new
   * masters.
   */
  #lookForNewMasters(): void {
    const masters = this.servers().join();
    if (this.#cluster === null) this.#breaker.reset();
    if (this.#cluster === null || masters !== this.#masters) this.#epoch++;
    this.#masters = masters;
  }

  async #close(): Promise<void> {
    const settled = this.#calls.close();
    if (this.#owned) await settled;
    this.#breaker.reset();
    this.#watcher = null;
    // An owned client goes on to report how it ends, and an error without a listener is printed.
    if (this.#owned && this.#client.status !== 'end') this.#client.disconnect();
    else this.#readiness.unwatch(this.#serverWatcher);
  }
}

/** The server that holds a key. A class, because one is made for each call. */
class KeyDestination implements Destination {
  readonly #connection: RedisConnection;
  readonly #key: string;
  /** The one in which the call was made. */
  readonly #epoch: number;

  constructor(connection: RedisConnection, key: string, epoch: number) {
    this.#connection = connection;
    this.#key = key;
    this.#epoch = epoch;
  }

  server(): string {
    return this.#connection.serverOf(this.#key);
  }

  answered(): void {
    this.#connection.answered(this.#key, this.#epoch);
  }

  failed(error: SessionError, reason: unknown): void {
    this.#connection.failed(this.#key, this.#epoch, error, reason);
  }
}

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, Command, type Redis, type RedisOptions } from 'ioredis';
import { SessionError } from '../../errors/session-error';
import { askingsOf } from '../client/asking';
import { SILENCE_FACTOR } from '../client/client';
import { askForCredentials, connectQuietly, credentialsOf } from '../client/credentials';
import { isConnectionLoss, isErrorReply, isSplitSlot, sessionErrorOf } from '../client/errors';
import { correctFalseReady } from '../client/false-ready';
import { mendConnection } from '../client/mended-connection';
import { leaveRefusedDatabase } from '../client/refused-database';
import { FOR_EACH_SESSION, type ScriptName } from '../scripts/index';
import { CircuitBreaker } from './circuit-breaker';
import { OneServer } from './one-server';
import { type Destination, PendingCalls, type SentCall } from './pending-calls';
import { addressOf, Readiness, type ServerWatcher } from './readiness';
import { defineScripts, type ScriptCommands } from './script-commands';
import { SessionsInOneScript } from './sessions-in-one-script';
import { SlotOwners } from './slot-owners';

interface ConnectionOptions {
  /** Names a key of no user, to see where keys are. */
  markOf: (tag: string) => string;
  /** Whether the store made the client, and so listens to it and closes it. */
  owned: boolean;
  timeoutMs: number;
}

/**
 * Arguments of a script, or a function that gives them at the time of sending. `heldUpMs`: milliseconds that this
 * process was held up between call and sending; 0 for none.
 */
type ScriptArguments = readonly (string | number)[] | ((heldUpMs: number) => readonly (string | number)[]);

interface ConnectionWatcher {
  lost: ServerWatcher['lost'];
  /** As in {@link ServerWatcher}; and whether slots of a Cluster have other owners now. */
  changed(haveSlotsMoved: boolean): void;
  databaseChanged: ServerWatcher['databaseChanged'];
}

/** The name of a Redis outside of a Cluster, where the address doesn't matter. */
const THE_SERVER = 'redis';

/** Milliseconds between two looks for the masters of a Cluster, at least. */
const LOOK_EVERY_MS = 500;

/** Deadlines after which the next probe replaces an unanswered one. ioredis may silently drop a command. */
const PROBE_FACTOR = 5;

/**
 * Runs scripts and commands on a client, each within its deadline. The deadline begins with the call, and includes the
 * wait for a connection, queues and redirections. Each server has a circuit breaker, which spares calls the wait for a
 * silent server.
 */
export class RedisConnection {
  readonly timeoutMs: number;
  readonly #client: Redis | Cluster;
  /** The same client if it is a Cluster; else `null`. */
  readonly #cluster: Cluster | null;
  readonly #owned: boolean;
  readonly #scripts: ScriptCommands;
  /** `null` for a Cluster. */
  readonly #oneServer: OneServer | null;
  /** The calls of each script that takes several sessions at once; empty for a Cluster. */
  readonly #together = new Map<ScriptName, SessionsInOneScript>();
  readonly #readiness: Readiness;
  readonly #serverWatcher: ServerWatcher = {
    lost: (server) => {
      this.#oneServer?.forget();
      this.#watcher?.lost(server);
    },
    changed: () => {
      this.#forgetFormerServers();
      this.#watcher?.changed(this.#cluster !== null && this.#slots.haveMoved(this.#cluster.slots));
    },
    databaseChanged: () => this.#watcher?.databaseChanged(),
  };
  readonly #breaker = new CircuitBreaker();
  #watcher: ConnectionWatcher | null = null;
  #masters = '';
  /** Counts the times that other servers may have taken over. */
  #epoch = 0;
  readonly #calls: PendingCalls;
  readonly #slots = new SlotOwners();
  /** The time, by `performance.now()`, before which the client is not made to look for masters. */
  #nextLookAt = Number.NEGATIVE_INFINITY;
  #closed: Promise<void> | null = null;

  constructor(client: Redis | Cluster, { markOf, owned, timeoutMs }: ConnectionOptions) {
    this.timeoutMs = timeoutMs;
    this.#client = client;
    this.#cluster = client.isCluster ? (client as Cluster) : null;
    this.#owned = owned;
    this.#scripts = defineScripts(client);
    this.#oneServer = this.#cluster === null ? new OneServer(this.#scripts, markOf) : null;
    if (this.#oneServer !== null) {
      for (const [name, { own }] of Object.entries(FOR_EACH_SESSION) as [ScriptName, { own: number }][]) {
        this.#together.set(name, new SessionsInOneScript(this.#scripts[name], own, this.#oneServer));
      }
    }
    this.#readiness = Readiness.of(client, owned, timeoutMs);
    this.#readiness.watch(this.#serverWatcher);
    this.#calls = new PendingCalls(
      this.#readiness,
      () => this.#cluster?.nodes('master') ?? [client as Redis],
      () => {
        for (const sessions of this.#together.values()) sessions.sendAll();
      },
      (reason, server) => this.#errorOf(reason, server),
    );
  }

  /** The name of a key or channel in Redis, with the client's prefix. */
  prefixed(name: string): string {
    return `${this.#client.options.keyPrefix ?? ''}${name}`;
  }

  /** The name of a key for a command to one of the clients: the nodes of a Cluster may lack the prefix. */
  keyFor(redis: Redis, key: string): string {
    return redis.options.keyPrefix ? key : this.prefixed(key);
  }

  /** Counts the calls that a node has answered while their slot is moving to it. */
  get askRedirections(): number {
    return this.#cluster === null ? 0 : askingsOf(this.#cluster);
  }

  get isConnected(): boolean {
    return this.#closed === null && this.#readiness.isConnected;
  }

  /** Reports every change of servers to one watcher from now on. */
  watch(watcher: ConnectionWatcher): void {
    this.#watcher = watcher;
  }

  /** The server that a key's calls go to: of a Cluster, as far as the client knows, the master that owns its slot. */
  serverOf(key: string): string {
    if (this.#cluster === null) return THE_SERVER;
    const slot = new Command('GET', [this.prefixed(key)]).getSlot();
    return this.#cluster.slots[slot]?.[0] ?? '';
  }

  /** Every server that calls may go to, as far as the client knows. */
  servers(): string[] {
    if (this.#cluster === null) return [THE_SERVER];
    // Slots without an owner are holes, which flatMap skips.
    return [...new Set(this.#cluster.slots.flatMap((owners) => owners?.[0] ?? []))];
  }

  /**
   * Has a Cluster's client look for {@link servers} now, twice a second at most: a look takes a connection. By itself
   * the client may look only when a call is redirected.
   */
  lookForServers(): void {
    if (!this.isConnected || this.#cluster === null || performance.now() < this.#nextLookAt) return;
    this.#nextLookAt = performance.now() + LOOK_EVERY_MS;
    this.#cluster.refreshSlotsCache();
  }

  /** Whether one of {@link servers} owns a slot. Outside of a Cluster it owns all. */
  isOwner(server: string, slot: number): boolean {
    return this.#cluster === null || this.#cluster.slots[slot]?.[0] === server;
  }

  /** The client of one of {@link servers}; `null` when there is none any more. */
  clientOf(server: string): Redis | null {
    if (this.#cluster === null) return this.#client as Redis;
    return this.#cluster.nodes('master').find((node) => addressOf(node) === server) ?? null;
  }

  /**
   * Opens a further connection to one of {@link servers}: to the same keys and database, with the credentials that the
   * client has at each attempt to connect. The caller closes it. `null` without a connection to that server now.
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
      // Given up only when its answers no longer matter. A longer wait would keep a process from ending in an outage.
      disconnectTimeout: 0,
      socketTimeout: SILENCE_FACTOR * timeoutMs,
      ...(source.options.commandTimeout !== undefined && { commandTimeout: SILENCE_FACTOR * timeoutMs }),
      // The client follows promotions; this connection ends at one.
      failoverDetector: false,
      keyPrefix: this.prefixed(''),
      ...(this.#cluster === null && { db: this.#readiness.database }),
    });
    mendConnection(redis);
    // The nodes of a Cluster refuse every database but 0. ioredis goes on with 0, as on the client's own connections.
    if (this.#cluster === null) leaveRefusedDatabase(redis);
    // Callers get errors from their calls; without a listener, ioredis prints them.
    redis.on('error', () => undefined);
    redis.on('ready', () => correctFalseReady(redis));
    askForCredentials(redis, () => credentialsOf(this.clientOf(server) ?? source, this.#cluster));
    connectQuietly(redis);
    return redis;
  }

  /** Resolves when there is a connection; rejects without one within the deadline. */
  ready(): Promise<void> {
    return this.#calls.add(() => Promise.resolve(), this.timeoutMs);
  }

  /** Runs a script; on its first key alone while a Cluster moves the keys one by one. */
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
    const together = this.#together.get(name);
    const command = (call: SentCall<Reply>) => {
      const given = typeof args === 'function' ? args(call.heldUpMs) : args;
      if (together !== undefined) {
        together.ask({ keys: keys as [string, string], args: given, call: call as SentCall<unknown> });
        return undefined;
      }
      const reply = script(keys.length, ...keys, ...given);
      if (this.#cluster === null || keys.length === 1) return reply;
      return reply.catch((error: unknown) => {
        if (!isSplitSlot(error)) throw error;
        return script(1, key, ...given);
      });
    };
    return this.#calls.add(command, timeoutMs, new KeyDestination(this, key, this.#epoch));
  }

  answered(key: string, epoch: number): void {
    if (!this.#breaker.isIdle && epoch === this.#epoch) this.#breaker.answered(this.serverOf(key));
  }

  failed(key: string, epoch: number, error: SessionError, reason: unknown): void {
    // The nodes of a Cluster have no wait for a connection: each call would try the dead one again.
    const isBroken = this.#cluster !== null && reason !== error;
    // A failure of its predecessor doesn't count against a server.
    if (this.#closed !== null || epoch !== this.#epoch) return;
    if (error.code !== 'ERR_STORE_TIMEOUT') {
      // Neither does a refusal by the client itself, while its connection is well.
      if (!isBroken || this.clientOf(this.serverOf(key))?.status === 'ready') return;
    }
    this.#breaker.unanswered(this.serverOf(key), error, () => this.#probe(key));
  }

  /**
   * Runs a script on one key, apart from the circuit breaker: neither affects the other. Rejects at once without a
   * connection.
   */
  runAside(name: ScriptName, key: string, args: readonly (string | number)[]): Promise<unknown> {
    if (!this.isConnected) return Promise.reject(new SessionError('ERR_STORE_UNAVAILABLE', 'there is no connection'));
    const destination = { server: () => this.serverOf(key) };
    return this.#calls.add(() => this.#scripts[name](1, key, ...args), this.timeoutMs, destination);
  }

  /** Runs a function that sends to one of {@link servers}. */
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

  /** Waits for the calls in flight, at most one deadline, and closes the client if the store made it. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #errorOf(reason: unknown, server?: string): SessionError {
    const otherwise = isConnectionLoss(reason) ? 'the connection to Redis broke' : undefined;
    return sessionErrorOf(this.#readiness.causeOf(reason, server), otherwise);
  }

  /** Whether the server of this key answers in time, also with an error. */
  async #probe(key: string): Promise<boolean> {
    if (!this.#readiness.isConnected) return false;
    const start = performance.now();
    // A check of no session. A client may send a plain read to a replica.
    const isAnswered = this.#scripts.check(1, key, '').then(() => true, isErrorReply);
    const givenUp = sleep(PROBE_FACTOR * this.timeoutMs, false, { ref: false }).then(() => nextTurn(false));
    return (await Promise.race([isAnswered, givenUp])) && performance.now() - start <= this.timeoutMs;
  }

  /**
   * Forgets earlier results: they say nothing about a new connection to a single Redis, nor about new masters of a
   * Cluster.
   */
  #forgetFormerServers(): void {
    const masters = this.servers().join();
    if (this.#cluster === null) this.#breaker.reset();
    if (this.#cluster === null || masters !== this.#masters) this.#epoch++;
    this.#masters = masters;
  }

  async #close(): Promise<void> {
    const settled = this.#calls.close();
    if (this.#owned) await settled;
    this.#breaker.reset();
    this.#oneServer?.close();
    this.#watcher = null;
    // An owned client still reports its end, and an error without a listener is printed.
    if (this.#owned && this.#client.status !== 'end') this.#client.disconnect();
    else this.#readiness.unwatch(this.#serverWatcher);
  }
}

/** The server that holds a key. A class, so that its methods are made once, not for every call. */
class KeyDestination implements Destination {
  readonly #connection: RedisConnection;
  readonly #key: string;
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

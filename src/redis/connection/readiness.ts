import type { EventEmitter } from 'node:events';
import type { Cluster, Redis } from 'ioredis';
import type { SessionError } from '../../errors/session-error';
import { catchAsking } from '../client/asking';
import { isMadeByUs } from '../client/client';
import { connectQuietly, followCredentials } from '../client/credentials';
import { isBrokenConnection, isConnectionLoss, lostForNoKnownReason, sessionErrorOf } from '../client/errors';
import { correctFalseReady } from '../client/false-ready';
import { leaveRefusedDatabase } from '../client/refused-database';
import { IdleConnections } from './idle-connections';
import { NodeErrors } from './node-errors';

export interface ServerWatcher {
  /** A connection broke: to this server (`host:port` of a Cluster's node), or to all. */
  lost(server?: string): void;
  /** There is a connection again, or another server took over. Called before any call can use the connection. */
  changed(): void;
  /** Calls go to another database from now on, because the application called `select`. */
  databaseChanged(): void;
}

type Listener = (argument: unknown, second: unknown) => void;

const ofClients = new WeakMap<Redis | Cluster, Readiness>();
/** The nodes of Clusters whose connections are followed. */
const followed = new WeakSet<Redis>();

/**
 * Follows a client's connection, and lets calls wait for it. All stores on one client share one instance, and so its
 * listeners.
 *
 * A call waits while a connection is being set up. After a failed attempt, calls fail at once until the client is
 * connected. A client that isn't ready gets no commands: a queued command would run after its caller got an error.
 */
export class Readiness {
  readonly #client: Redis | Cluster;
  readonly #owned: boolean;
  readonly #watchers = new Set<ServerWatcher>();
  #database: number;
  /** Settles with the current attempt to connect. */
  #attempt: Promise<void> | null = null;
  #onAttemptFailed: (() => void) | null = null;
  /** `down`: an attempt to connect has failed since the client was last ready. */
  #state: 'connecting' | 'ready' | 'down';
  /** The last error of the client, to explain failed calls. Known for owned clients only, because the owner listens. */
  #lastError: unknown;
  /** One failure may bring several errors; the first has the reason. */
  #isFirstError = true;
  readonly #nodeErrors = new NodeErrors();
  /** For clients of `createRedisClient` only: a command of its owner may block another client, and it is well. */
  readonly #idle: IdleConnections | null;

  /**
   * The instance of this client, which all its stores share.
   *
   * @param owned whether the client is ours to listen to for errors.
   */
  static of(client: Redis | Cluster, owned: boolean, timeoutMs: number): Readiness {
    const readiness = ofClients.get(client) ?? new Readiness(client, owned, timeoutMs);
    ofClients.set(client, readiness);
    return readiness;
  }

  private constructor(client: Redis | Cluster, owned: boolean, timeoutMs: number) {
    this.#client = client;
    this.#idle = isMadeByUs(client) ? new IdleConnections(client, timeoutMs / 2) : null;
    this.#owned = owned;
    this.#database = databaseOf(client);
    if (client.isCluster) for (const node of (client as Cluster).nodes()) this.#followNode(node);
    else this.#followRedis(client as Redis);
    const { status } = client;
    this.#state = status === 'ready' ? 'ready' : status === 'end' ? 'down' : 'connecting';
    this.#listen('on');
  }

  /** Records a call. Gives whether it may be sent at once. */
  isReadyForCall(): boolean {
    return this.isConnected && this.#idle?.mustTryFirst() !== true;
  }

  get isConnected(): boolean {
    return this.#client.status === 'ready' && !this.#isEnding();
  }

  /** The database of the client; of a Cluster 0. */
  get database(): number {
    return this.#database;
  }

  watch(watcher: ServerWatcher): void {
    this.#watchers.add(watcher);
  }

  /** Removes the listeners from the client when this was the last watcher. */
  unwatch(watcher: ServerWatcher): void {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0) return;
    this.#listen('off');
    ofClients.delete(this.#client);
  }

  /** Resolves when the client is ready, rejects when it can't be reached. */
  async whenReady(): Promise<void> {
    if (this.#state === 'down') throw this.#unavailable();
    if (this.isConnected) await this.#idle?.tested;
    if (this.isConnected) return;
    this.#attempt ??= this.#nextAttempt().finally(() => {
      this.#attempt = null;
    });
    await this.#attempt;
  }

  /**
   * The error that says most of why a call failed: for a connection that was lost, what it was lost by.
   *
   * @param server the address of a Cluster's node, where the call went to one.
   */
  causeOf(error: unknown, server?: string): unknown {
    if (!isConnectionLoss(error)) return error;
    const known = this.#client.isCluster ? this.#nodeErrorOf(server) : this.#lastError;
    return known ?? (this.#owned ? lostForNoKnownReason() : lostByApplication());
  }

  #nodeErrorOf(server: string | undefined): Error | undefined {
    return server === undefined ? this.#nodeErrors.all : this.#nodeErrors.of(server);
  }

  /** Whether the connection is ending. ioredis reports that only after it has closed, and queues until then. */
  #isEnding(): boolean {
    return !this.#client.isCluster && (this.#client as Redis).stream?.writable === false;
  }

  /** Resolves when the client is ready, rejects when the attempt to connect fails. */
  #nextAttempt(): Promise<void> {
    const client = this.#client;
    return new Promise((resolve, reject) => {
      const settle = (outcome: () => void) => {
        client.off('ready', onReady).off('close', onClose).off('end', onFailure);
        this.#onAttemptFailed = null;
        outcome();
      };
      let closesFirst = client.status === 'ready';
      const onReady = () => {
        if (!this.#isEnding()) settle(resolve);
      };
      const onFailure = () => settle(() => reject(this.#unavailable()));
      const onClose = () => {
        if (!closesFirst) onFailure();
        closesFirst = false;
      };
      client.on('ready', onReady).on('close', onClose).on('end', onFailure);
      this.#onAttemptFailed = onFailure;
      if (client.status === 'wait') client.connect().catch(onFailure);
    });
  }

  #unavailable(): SessionError {
    const status = JSON.stringify(this.#client.status);
    const cause = this.#nodeErrors.all ?? this.#lastError;
    return sessionErrorOf(cause, `Redis can't be reached (the client's status is ${status})`);
  }

  #listen(onOrOff: 'on' | 'off'): void {
    const client: EventEmitter = this.#client;
    const listeners: [event: string, listener: Listener][] = [
      ['ready', this.#onReady],
      ['close', this.#onClose],
      ['end', this.#onEnd],
    ];
    if (this.#owned) listeners.push(['error', this.#onError]);
    if (this.#client.isCluster) {
      listeners.push(['-node', this.#onNodeLost], ['+node', this.#onNodeFound], ['refresh', this.#onNodesChanged]);
      listeners.push(['node error', this.#onNodeError]);
    } else {
      listeners.push(['select', this.#onSelect]);
    }
    for (const [event, listener] of listeners) client[onOrOff](event, listener);
  }

  readonly #onReady = () => {
    if (!this.#client.isCluster && correctFalseReady(this.#client as Redis)) return;
    // The connection was given up, and answers to its handshake still arrive.
    if (this.#isEnding()) return;
    this.#state = 'ready';
    this.#isFirstError = true;
    this.#lastError = undefined;
    this.#nodeErrors.clear();
    for (const watcher of this.#watchers) watcher.changed();
  };

  readonly #onClose = () => {
    this.#state = this.#state === 'ready' ? 'connecting' : 'down';
    this.#isFirstError = true;
    for (const watcher of this.#watchers) watcher.lost();
  };

  readonly #onEnd = () => {
    this.#state = 'down';
  };

  readonly #onError = (error: unknown) => {
    const saysMore = this.#lastError === undefined || !isBrokenConnection(error);
    if (this.#isFirstError && saysMore && !isConnectionLoss(error)) this.#lastError = error;
    // ioredis asks one sentinel after another, and a master that one of them names may fail with its own error.
    this.#isFirstError = this.#client.status === 'connecting';
    // While no sentinel answers, ioredis goes on asking, and the attempt never ends.
    if (this.#client.status !== 'connecting') return;
    this.#state = 'down';
    this.#onAttemptFailed?.();
  };

  readonly #onNodeLost = (node: unknown) => {
    for (const watcher of this.#watchers) watcher.lost(addressOf(node as Redis));
  };

  readonly #onNodeFound = (node: unknown) => {
    this.#followNode(node as Redis);
    this.#onNodesChanged();
  };

  readonly #onNodeError = (error: unknown, address: unknown) => {
    this.#nodeErrors.record(String(address), error);
  };

  readonly #onNodesChanged = () => {
    if (!this.isConnected) return;
    for (const watcher of this.#watchers) watcher.changed();
  };

  /** ioredis also emits this for each connection on which it selects the same database. */
  readonly #onSelect = (database: unknown) => {
    if (database === this.#database) return;
    this.#database = database as number;
    for (const watcher of this.#watchers) watcher.databaseChanged();
  };

  #followRedis(redis: Redis): void {
    followCredentials(redis, null);
    leaveRefusedDatabase(redis, (error) => {
      this.#lastError = error;
    });
    // A client that was wrong before the application handed it in no longer connects.
    if (correctFalseReady(redis) && redis.status === 'end') connectQuietly(redis);
  }

  #followNode(node: Redis): void {
    // An earlier store, closed by now, may have followed the node.
    if (followed.has(node)) return;
    followed.add(node);
    const cluster = this.#client as Cluster;
    followCredentials(node, cluster);
    catchAsking(node, cluster);
    // With a clusterNodeRetryStrategy, ioredis reports neither the loss of a node nor its return.
    node.on('close', () => {
      const readiness = ofClients.get(cluster);
      if (readiness !== undefined) readiness.#onNodeLost(node);
    });
    node.on('ready', () => {
      const readiness = ofClients.get(cluster);
      if (!correctFalseReady(node) && readiness !== undefined) readiness.#onNodesChanged();
    });
  }
}

/** The error for a lost connection of an application's client: that client may report the reason to the application. */
function lostByApplication(): Error {
  return new Error("the connection of the application's client was lost; an error event of that client may say why");
}

/** The database that a client has selected, or will select when it connects. */
function databaseOf(client: Redis | Cluster): number {
  if (client.isCluster) return 0;
  const { prevCondition, condition, options } = client as unknown as Record<
    'prevCondition' | 'condition',
    { select?: number } | null | undefined
  > &
    Pick<Redis, 'options'>;
  return prevCondition?.select ?? condition?.select ?? options.db ?? 0;
}

/** The name of a Cluster's node: `host:port`. */
export function addressOf({ options }: Redis): string {
  return `${options.host}:${options.port}`;
}

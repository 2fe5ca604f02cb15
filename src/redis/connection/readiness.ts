import type { EventEmitter } from 'node:events';
import type { Cluster, Redis } from 'ioredis';
import type { SessionError } from '../../errors/session-error';
import { catchAsking } from '../client/asking';
import { isMadeByUs } from '../client/client';
import { connectQuietly, followCredentials } from '../client/credentials';
import { isBrokenConnection, isConnectionLoss, sessionErrorOf, withoutArguments } from '../client/errors';
import { correctFalseReady } from '../client/false-ready';
import { leaveRefusedDatabase } from '../client/refused-database';
import { IdleConnections } from './idle-connections';
import { NodeErrors } from './node-errors';

/** Who wants to know when servers may have changed. */
export interface ServerWatcher {
  /** A connection broke: to this server, `host:port` of a Cluster's node, or to all. */
  lost(server?: string): void;
  /** There is a connection again, or another server took over. Called before any call can use it. */
  changed(): void;
  /** Calls go to another database from now on: the application has called `select`. */
  databaseChanged(): void;
}

type Listener = (argument: unknown, second: unknown) => void;

const ofClients = new WeakMap<Redis | Cluster, Readiness>();

/**
 * Follows a client's connection, and lets calls wait for it. All stores on one client share one, and so its listeners.
 *
 * A call that comes while a connection is being set up waits for it; once an attempt has failed, calls fail at once
 * until the client has got through. Nothing is handed to a client that isn't ready: a command that waits in its queue
 * runs after its caller was given an error.
 */
export class Readiness {
  readonly #client: Redis | Cluster;
  readonly #owned: boolean;
  readonly #watchers = new Set<ServerWatcher>();
  #database: number;
  /** Settles with the present attempt to connect. */
  #attempt: Promise<void> | null = null;
  #onAttemptFailed: (() => void) | null = null;
  /** Whether an attempt to connect has failed since the client was last ready. */
  #isDown: boolean;
  #wasReady: boolean;
  /** What the client last reported, to say why a call failed. Known for an owned client only: who owns it listens. */
  #lastError: unknown;
  /** One failure may bring several errors; the first says why. */
  #isFirstError = true;
  readonly #nodeErrors = new NodeErrors();
  /** Of a client of ours: another's may be blocked by a command of its owner's, and be well. */
  readonly #idle: IdleConnections | null;

  /**
   * The one of this client.
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
    this.#wasReady = client.status === 'ready';
    this.#isDown = client.status === 'end';
    this.#listen('on');
  }

  /** Whether a call that is made now may be sent at once. */
  get isReady(): boolean {
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

  /** Gives the client its listeners back when this was the last watcher. */
  unwatch(watcher: ServerWatcher): void {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0) return;
    this.#listen('off');
    ofClients.delete(this.#client);
  }

  /** Resolves when the client is ready, rejects when it can't be reached. */
  async whenReady(): Promise<void> {
    if (this.#isDown) throw this.#unavailable();
    if (this.isConnected) await this.#idle?.tryAll();
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
    return known ?? (this.#owned ? new Error('the connection was closed, and nothing says why') : error);
  }

  #nodeErrorOf(server: string | undefined): Error | undefined {
    return server === undefined ? this.#nodeErrors.all : this.#nodeErrors.of(server);
  }

  /** Whether the connection is ending. ioredis reports that only when it has closed, and queues until then. */
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
    // It was given up, and answers to its handshake still arrive.
    if (this.#isEnding()) return;
    this.#wasReady = true;
    this.#isFirstError = true;
    this.#isDown = false;
    this.#lastError = undefined;
    this.#nodeErrors.clear();
    for (const watcher of this.#watchers) watcher.changed();
  };

  readonly #onClose = () => {
    this.#isDown = !this.#wasReady;
    this.#wasReady = false;
    this.#isFirstError = true;
    for (const watcher of this.#watchers) watcher.lost();
  };

  readonly #onEnd = () => {
    this.#isDown = true;
  };

  readonly #onError = (error: unknown) => {
    const saysMore = this.#lastError === undefined || !isBrokenConnection(error);
    if (this.#isFirstError && saysMore) this.#lastError = withoutArguments(error);
    // Sentinels are asked one after the other, and a master that one of them names may fail in its own way.
    this.#isFirstError = this.#client.status === 'connecting';
    // While no sentinel answers, ioredis asks one after the other, and never gives the attempt up.
    if (this.#client.status !== 'connecting') return;
    this.#isDown = true;
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

  /** ioredis emits it for each connection that it selects the same database on, too. */
  readonly #onSelect = (database: unknown) => {
    if (database === this.#database) return;
    this.#database = database as number;
    for (const watcher of this.#watchers) watcher.databaseChanged();
  };

  #followRedis(redis: Redis): void {
    followCredentials(redis, null);
    leaveRefusedDatabase(redis, (error) => {
      this.#lastError = withoutArguments(error);
    });
    // One that was wrong before it was handed in has given up connecting.
    if (correctFalseReady(redis) && redis.status === 'end') connectQuietly(redis);
  }

  #followNode(node: Redis): void {
    followCredentials(node, this.#client as Cluster);
    catchAsking(node, this.#client as Cluster);
    // A node may have been followed before, for stores that are closed.
    node.off('ready', correctNode).on('ready', correctNode);
  }
}

function correctNode(this: Redis): void {
  correctFalseReady(this);
}

/** The database that a client has selected, or will when it connects. */
function databaseOf(client: Redis | Cluster): number {
  if (client.isCluster) return 0;
  const { prevCondition, condition, options } = client as unknown as Record<
    'prevCondition' | 'condition',
    { select?: number } | null | undefined
  > &
    Pick<Redis, 'options'>;
  return prevCondition?.select ?? condition?.select ?? options.db ?? 0;
}

/** What a node of a Cluster is called: `host:port`. */
export function addressOf({ options }: Redis): string {
  return `${options.host}:${options.port}`;
}

import type { ChangeFeed, ChangeFollower, ChangeSource } from '../../store/store';
import { isError, wordsOf } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import type { ServerRights } from '../health/server-rights';
import type { RedisKeys } from '../schema';
import { ChangeSubscription } from './change-subscription';

type Outcome = Parameters<ChangeFollower['completenessChanged']>[0];

/**
 * Follows changes to users at their source: subscribes to each server that scripts run on. In a Cluster every node
 * passes on all changes, but the loss of a link between two nodes would go unnoticed. All followers share the
 * subscriptions, which end with the last follower.
 */
export class RedisChangeFeed {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  readonly #rights: ServerRights;
  readonly #followers = new Set<ChangeFollower>();
  /** Milliseconds between two checks that changes still arrive. */
  readonly heartbeatMs: number;
  readonly #onClose: () => void;
  readonly #heart: NodeJS.Timeout;
  readonly #subscriptions = new Map<string, ChangeSubscription>();
  /** The last report to the followers; `null` before the first. */
  #outcome: Outcome | null = null;
  #isClosed = false;

  constructor(
    connection: RedisConnection,
    keys: RedisKeys,
    rights: ServerRights,
    { heartbeatMs, onClose }: { heartbeatMs: number; onClose: () => void },
  ) {
    this.#connection = connection;
    this.#keys = keys;
    this.#rights = rights;
    this.heartbeatMs = heartbeatMs;
    this.#onClose = onClose;
    this.#heart = setInterval(() => this.#beat(), heartbeatMs).unref();
    if (connection.isConnected) this.serversChanged(false);
  }

  /** Adds a follower. It is called about completeness later than this call, also where that is known already. */
  join(follower: ChangeFollower): ChangeFeed {
    this.#followers.add(follower);
    queueMicrotask(() => {
      if (this.#outcome !== null && this.#followers.has(follower)) follower.completenessChanged(this.#outcome);
    });
    const connection = this.#connection;
    return {
      sourceOf: (tag) => this.#sourceOf(tag),
      get askRedirections() {
        return connection.askRedirections;
      },
      close: () => {
        if (this.#followers.delete(follower) && this.#followers.size === 0) this.close();
      },
    };
  }

  /** Why changes may be missed: a sentence for each such server. A server whose subscription is starting has none. */
  get reasons(): string[] {
    return [...this.#subscriptions].flatMap(([server, { source, isComingUp, cause }]) => {
      if (source !== null || isComingUp || !isError(cause)) return [];
      const prefix = this.#subscriptions.size > 1 ? `${server}: ` : '';
      return `${prefix}changes to sessions may be missed, and the near cache is bypassed: ${wordsOf(cause)}`;
    });
  }

  /** The connection of the calls broke, to this server or to all. The next one may lead to another server. */
  lost(server?: string): void {
    for (const [address, subscription] of this.#subscriptions) {
      if (server === undefined || address === server) this.#drop(address, subscription);
    }
    this.#report(new Error('the connection to Redis broke'));
  }

  /** There is a connection again, or servers or the owners of slots have changed. */
  serversChanged(haveSlotsMoved: boolean): void {
    if (this.#isClosed) return;
    const servers = new Set(this.#connection.servers());
    for (const [address, subscription] of this.#subscriptions) {
      if (!servers.has(address)) this.#drop(address, subscription);
      // The users of that source are not known, so no copy from it counts any more.
      else if (haveSlotsMoved) subscription.renew();
    }
    for (const server of servers) if (!this.#subscriptions.has(server)) this.#subscribe(server);
    this.#report(new Error('a server of the Cluster has no subscription yet'));
  }

  close(): void {
    if (this.#isClosed) return;
    clearInterval(this.#heart);
    for (const [address, subscription] of this.#subscriptions) this.#drop(address, subscription);
    this.#report(new Error('the store is closed'));
    this.#isClosed = true;
    this.#onClose();
  }

  #beat(): void {
    if (this.#outcome?.isComplete !== true) this.#connection.lookForServers();
    for (const subscription of this.#subscriptions.values()) subscription.beat();
  }

  #sourceOf(tag: string): ChangeSource | null {
    return this.#subscriptions.get(this.#connection.serverOf(this.#keys.sessions(tag)))?.source ?? null;
  }

  #subscribe(server: string): void {
    const subscription = new ChangeSubscription(this.#connection, server, {
      channels: this.#keys.channels.map((channel) => this.#connection.prefixed(channel)),
      rights: this.#rights,
      heartbeatMs: this.heartbeatMs,
      changed: (tag) => {
        for (const follower of this.#followers) follower.changed(tag);
      },
      gained: () => this.#report(null),
      lost: (cause) => {
        // A loss completes nothing. While a server refuses, there is one at each heartbeat, and a report costs.
        if (this.#outcome?.isComplete !== false) this.#report(cause);
      },
    });
    this.#subscriptions.set(server, subscription);
  }

  #drop(address: string, subscription: ChangeSubscription): void {
    this.#subscriptions.delete(address);
    subscription.close();
  }

  /**
   * Reports to the followers when the changes of all servers arrive, or no longer do.
   *
   * @param given why those of one server may not arrive; `null` while its subscription starts.
   */
  #report(given: unknown): void {
    const refused = [...this.#subscriptions.values()].find(({ source, isRefused }) => source === null && isRefused);
    const cause = given ?? refused?.cause ?? null;
    const servers = this.#connection.servers();
    const isComplete = servers.length > 0 && servers.every((server) => this.#subscriptions.get(server)?.source != null);
    if (this.#isClosed || isComplete === this.#outcome?.isComplete) return;
    // While it comes up for the first time it is not down.
    if (!isComplete && (cause === null || (this.#outcome === null && this.#isComingUp()))) return;
    this.#outcome = isComplete ? { isComplete } : { isComplete, cause };
    for (const follower of this.#followers) follower.completenessChanged(this.#outcome);
  }

  #isComingUp(): boolean {
    return [...this.#subscriptions.values()].some(({ isComingUp }) => isComingUp);
  }
}

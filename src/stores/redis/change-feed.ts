import type { ChangeFeed, ChangeFollower, ChangeSource } from '../../core/store';
import { ChangeSubscription } from './change-subscription';
import type { RedisConnection } from './connection';
import type { RedisKeys } from './keys';

/**
 * Hears of changes to users where they are made: by a subscription of its own to each server that scripts run on. In a Cluster every node would tell
 * of all changes, but of another node's only while their link holds, and nobody could see that it did not.
 */
export class RedisChangeFeed implements ChangeFeed {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  readonly #follower: ChangeFollower;
  readonly #heartbeatMs: number;
  readonly #onClose: () => void;
  readonly #subscriptions = new Map<string, ChangeSubscription>();
  /** What the follower was last told; `null` while there is nothing to tell. */
  #hearsAll: boolean | null = null;
  #isClosed = false;

  constructor(
    connection: RedisConnection,
    keys: RedisKeys,
    follower: ChangeFollower,
    { heartbeatMs, onClose }: { heartbeatMs: number; onClose: () => void },
  ) {
    this.#connection = connection;
    this.#keys = keys;
    this.#follower = follower;
    this.#heartbeatMs = heartbeatMs;
    this.#onClose = onClose;
    if (connection.isReady) this.serversChanged();
  }

  sourceOf(tag: string): ChangeSource | null {
    return this.#subscriptions.get(this.#connection.serverOf(this.#keys.sessions(tag)))?.source ?? null;
  }

  /** The connection that calls use broke, to this server or to all: what it finds next may be another. */
  lost(server?: string): void {
    for (const [address, subscription] of this.#subscriptions) {
      if (server === undefined || address === server) this.#drop(address, subscription);
    }
    this.#tell(new Error('the connection to Redis broke'));
  }

  /** There is a connection, or there are other servers. */
  serversChanged(): void {
    if (this.#isClosed) return;
    const servers = new Set(this.#connection.servers());
    for (const [address, subscription] of this.#subscriptions) {
      if (!servers.has(address)) this.#drop(address, subscription);
    }
    for (const server of servers) if (!this.#subscriptions.has(server)) this.#subscribe(server);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const [address, subscription] of this.#subscriptions) this.#drop(address, subscription);
    this.#onClose();
  }

  #subscribe(server: string): void {
    const prefix = this.#connection.keyPrefix;
    const channels = this.#keys.channels.map((channel) => prefix + channel);
    const subscription = new ChangeSubscription(this.#connection, server, {
      channels,
      heartbeatMs: this.#heartbeatMs,
      changed: (tag) => this.#follower.changed(tag),
      gained: () => this.#tell(null),
      lost: (source, cause) => {
        if (source !== null) this.#follower.lost(source);
        this.#tell(cause);
      },
    });
    this.#subscriptions.set(server, subscription);
  }

  #drop(address: string, subscription: ChangeSubscription): void {
    this.#subscriptions.delete(address);
    const { source } = subscription;
    subscription.close();
    if (source !== null) this.#follower.lost(source);
  }

  #tell(cause: unknown): void {
    const subscriptions = [...this.#subscriptions.values()];
    const hearsAll = subscriptions.length > 0 && subscriptions.every(({ source }) => source !== null);
    if (this.#isClosed || hearsAll === this.#hearsAll) return;
    // Of several servers, the last is not the first to be heard.
    if (!hearsAll && cause === null) return;
    this.#hearsAll = hearsAll;
    this.#follower.heard(hearsAll ? { isAll: true } : { isAll: false, cause });
  }
}

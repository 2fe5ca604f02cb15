import type { Redis } from 'ioredis';
import type { ChangeSource } from '../store/store';
import { isSessionId } from '../token/token';
import { reconnectDelay } from './client';
import type { RedisConnection } from './connection';
import { withoutArguments } from './errors';
import type { ServerKeys } from './server-keys';

/** Heartbeats for which what was heard counts as complete, from the sending of the last one that was answered. */
const LEASE_HEARTBEATS = 2;

interface SubscriptionOptions {
  channels: readonly string[];
  serverKeys: ServerKeys;
  heartbeatMs: number;
  changed(tag: string): void;
  gained(): void;
  /** @param source the one that is no more; `null` when there was none. */
  lost(source: ChangeSource | null, cause: unknown): void;
}

/** What one server announces, heard over a connection of its own. */
interface Source extends ChangeSource {
  completeUntil: number;
}

/**
 * A subscription to the changes that one server announces, and whether it is known to bring them all. That takes three things:
 *
 * - It is on the very server that calls go to: both connections tell the same `run_id`. When either breaks, that is found out anew.
 * - All that was announced up to a moment has arrived: a server answers each connection in order, so that the answer to a PING comes after what was
 *   announced before the PING.
 * - Nobody else is the master by then: over the connection of the calls it has taken a write, of nothing, which a replica refuses, or a master
 *   that has lost its replicas (`min-replicas-to-write`).
 *
 * The latter two make a heartbeat, and are believed for two: a server that is paused, or a network that is gone, says nothing at all.
 */
export class ChangeSubscription {
  readonly #connection: RedisConnection;
  readonly #server: string;
  readonly #options: SubscriptionOptions;
  readonly #heart: NodeJS.Timeout;
  readonly #begunAt = performance.now();
  #redis: Redis | null = null;
  /** Whether the connection is just being subscribed, to the server of the calls, and whether it is. */
  #isSubscribing = false;
  #isSubscribed = false;
  /** Why it could not be subscribed, since it last was. */
  #refusal: unknown = null;
  #source: Source | null = null;
  #isClosed = false;

  constructor(connection: RedisConnection, server: string, options: SubscriptionOptions) {
    this.#connection = connection;
    this.#server = server;
    this.#options = options;
    this.#connect();
    this.#heart = setInterval(() => this.#onBeat(), options.heartbeatMs).unref();
  }

  /** What is heard; `null` while it may not be all. */
  get source(): ChangeSource | null {
    return this.#source !== null && performance.now() < this.#source.completeUntil ? this.#source : null;
  }

  /** Whether it may yet succeed at first. */
  get isComingUp(): boolean {
    return this.#source === null && performance.now() - this.#begunAt < LEASE_HEARTBEATS * this.#options.heartbeatMs;
  }

  /** Goes on as another source; gives the one that is no more. */
  renew(): ChangeSource | null {
    const completeUntil = this.#source?.completeUntil;
    const former = this.#giveUp();
    if (completeUntil !== undefined) this.#source = { completeUntil };
    return former;
  }

  /** Ends it; gives the source that is no more. */
  close(): ChangeSource | null {
    this.#isClosed = true;
    clearInterval(this.#heart);
    this.#redis?.disconnect();
    return this.#giveUp();
  }

  #connect(): void {
    const redis = this.#connection.connectTo(this.#server, { retryStrategy: reconnectDelay });
    this.#redis = redis;
    redis?.on('ready', () => void this.#subscribe(redis));
    redis?.on('error', (error) => {
      this.#refusal ??= withoutArguments(error);
    });
    for (const event of ['close', 'end']) {
      redis?.on(event, () => this.#lose(this.#refusal ?? new Error('the connection of the subscription broke')));
    }
    redis?.on('message', (_channel: string, message: string) => {
      // A tag has the form of a session id.
      if (isSessionId(message)) this.#options.changed(message);
    });
  }

  async #subscribe(redis: Redis): Promise<void> {
    this.#isSubscribing = true;
    try {
      const [here, there] = await Promise.all([
        redis.info('server'),
        this.#connection.sendTo(this.#server, (client) => client.info('server')),
      ]);
      if (runIdIn(here) !== runIdIn(there))
        throw new Error('the subscription has led to another server than the calls');
      await redis.subscribe(...this.#options.channels);
      this.#isSubscribed = true;
      this.#refusal = null;
    } catch (error) {
      this.#refusal = withoutArguments(error);
      return this.#lose(this.#refusal);
    } finally {
      this.#isSubscribing = false;
    }
    await this.#beat(redis);
  }

  #onBeat(): void {
    if (this.#source !== null && performance.now() >= this.#source.completeUntil) {
      this.#lose(new Error(`Redis left ${LEASE_HEARTBEATS} heartbeats of the subscription unanswered`));
    }
    // With sentinels, none of which answers, one ends for good where the client's options say so.
    if (this.#redis === null || this.#redis.status === 'end') this.#connect();
    else if (this.#isSubscribed) void this.#beat(this.#redis);
    // One that is connected and not subscribed was refused, or is elsewhere: the next connection may do better.
    else if (!this.#isSubscribing && this.#redis.status === 'ready') this.#redis.disconnect(true);
  }

  async #beat(redis: Redis): Promise<void> {
    const sentAt = performance.now();
    try {
      const { serverKeys, heartbeatMs } = this.#options;
      await Promise.all([redis.ping(), serverKeys.writeNothing(this.#server, LEASE_HEARTBEATS * heartbeatMs)]);
    } catch (error) {
      return this.#lose(withoutArguments(error));
    }
    const completeUntil = sentAt + LEASE_HEARTBEATS * this.#options.heartbeatMs;
    if (this.#isClosed || !this.#isSubscribed || performance.now() >= completeUntil) return;
    if (this.#source !== null) {
      this.#source.completeUntil = Math.max(this.#source.completeUntil, completeUntil);
      return;
    }
    this.#source = { completeUntil };
    this.#options.gained();
  }

  #lose(cause: unknown): void {
    if (this.#isClosed) return;
    if (this.#redis?.status !== 'ready') this.#isSubscribed = false;
    this.#options.lost(this.#giveUp(), cause);
  }

  #giveUp(): ChangeSource | null {
    const source = this.#source;
    if (source !== null) source.completeUntil = Number.NEGATIVE_INFINITY;
    this.#source = null;
    return source;
  }
}

/** What a server is called since it was started. One that tells none is not known to be the same. */
function runIdIn(info: string): string | symbol {
  return /^run_id:(\w+)/m.exec(info)?.[1] ?? Symbol('unknown');
}

import type { Redis } from 'ioredis';
import { SessionError } from '../../errors/session-error';
import type { ChangeSource } from '../../store/store';
import { isSessionId } from '../../token/token';
import { reconnectDelay } from '../client/client';
import { isRefusal, withoutArguments } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import type { ServerKeys } from '../health/server-keys';
import type { ServerRights } from '../health/server-rights';

/** Heartbeats for which the changes count as complete, from the sending of the last one that was answered. */
const LEASE_HEARTBEATS = 2;

/**
 * Milliseconds after which a server that has refused what a subscription needs is asked again. A new connection would
 * be refused as well.
 */
const REFUSED_AGAIN_MS = 60_000;

interface SubscriptionOptions {
  channels: readonly string[];
  serverKeys: ServerKeys;
  rights: ServerRights;
  heartbeatMs: number;
  changed(tag: string): void;
  gained(): void;
  /** @param source the one that is no more; `null` when there was none. */
  lost(source: ChangeSource | null, cause: unknown): void;
}

/** What one server announces, over a connection of its own. */
interface Source extends ChangeSource {
  completeUntil: number;
}

/**
 * A subscription to the changes that one server announces, and whether it is known to bring them all. That takes four
 * things:
 *
 * - It is on the very server that calls go to: both connections tell the same `run_id`. When either breaks, that is
 *   found out anew.
 * - All that was announced up to a moment has arrived: a server answers each connection in order, so that the answer to
 *   a PING comes after what was announced before the PING.
 * - Nobody else is the master by then: over the connection of the calls it has taken a write, of nothing, which a
 *   replica refuses, or a master that has lost its replicas (`min-replicas-to-write`).
 * - Changes are announced at all: the server lets this process announce, and so others that have the same rights.
 *
 * The latter three make a heartbeat, and are believed for two: a server that is paused, or a network that is gone, says
 * nothing at all.
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
  /** Until when, by `performance.now()`, a server that has refused what it needs is not asked again. */
  #refusedUntil = Number.NEGATIVE_INFINITY;
  #source: Source | null = null;
  #isClosed = false;

  constructor(connection: RedisConnection, server: string, options: SubscriptionOptions) {
    this.#connection = connection;
    this.#server = server;
    this.#options = options;
    this.#connect();
    this.#heart = setInterval(() => this.#onBeat(), options.heartbeatMs).unref();
  }

  /** The source while all of its changes arrive; else `null`. */
  get source(): ChangeSource | null {
    return this.#source !== null && performance.now() < this.#source.completeUntil ? this.#source : null;
  }

  /** Why its changes may not arrive; `null` when that isn't known. */
  get refusal(): unknown {
    return this.#refusal;
  }

  /** Whether the server refuses what it needs. */
  get isRefused(): boolean {
    return performance.now() < this.#refusedUntil;
  }

  /** Whether it may yet succeed at first. */
  get isComingUp(): boolean {
    if (this.isRefused) return false;
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
      const [hereId, thereId] = [runIdIn(here), runIdIn(there)];
      if (hereId === null || thereId === null) throw new UnknownServer();
      if (hereId !== thereId) throw new Error('the subscription has led to another server than the calls');
      await redis.subscribe(...this.#options.channels);
      this.#isSubscribed = true;
      this.#refusal = null;
    } catch (error) {
      return this.#refused(error);
    } finally {
      this.#isSubscribing = false;
    }
    await this.#beat(redis);
  }

  #onBeat(): void {
    if (this.#source !== null && performance.now() >= this.#source.completeUntil) {
      this.#lose(new Error(`Redis left ${LEASE_HEARTBEATS} heartbeats of the subscription unanswered`));
    }
    // Where no sentinel answers, a connection ends for good if the client's options say so.
    if (this.#redis === null || this.#redis.status === 'end') this.#connect();
    else if (this.#isSubscribed) void this.#beat(this.#redis);
    else if (this.#isSubscribing || this.#redis.status !== 'ready' || this.isRefused) return;
    // A server that has refused may have been given other rights since. One that is elsewhere: the next connection may
    // do better.
    else if (this.#refusedUntil > 0) void this.#subscribe(this.#redis);
    else this.#redis.disconnect(true);
  }

  async #beat(redis: Redis): Promise<void> {
    const sentAt = performance.now();
    try {
      const { serverKeys, rights, heartbeatMs } = this.#options;
      const timeoutMs = LEASE_HEARTBEATS * heartbeatMs;
      const [, , refusal] = await Promise.all([
        redis.ping(),
        serverKeys.writeNothing(this.#server, timeoutMs),
        rights.refusalToAnnounce(this.#server, timeoutMs),
      ]);
      if (refusal !== null) return this.#refused(refusal);
    } catch (error) {
      return this.#lose(reportable(error));
    }
    this.#refusal = null;
    this.#refusedUntil = Number.NEGATIVE_INFINITY;
    const completeUntil = sentAt + LEASE_HEARTBEATS * this.#options.heartbeatMs;
    if (this.#isClosed || !this.#isSubscribed || performance.now() >= completeUntil) return;
    if (this.#source !== null) {
      this.#source.completeUntil = Math.max(this.#source.completeUntil, completeUntil);
      return;
    }
    this.#source = { completeUntil };
    this.#options.gained();
  }

  #refused(error: unknown): void {
    this.#refusal = reportable(error);
    const isLasting = isRefusal(error) || error instanceof UnknownServer;
    this.#refusedUntil = isLasting ? performance.now() + REFUSED_AGAIN_MS : Number.NEGATIVE_INFINITY;
    this.#lose(this.#refusal);
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

/** What a server is called since it was started; `null` when it doesn't say. */
function runIdIn(info: string): string | null {
  return /^run_id:(\w+)/m.exec(info)?.[1] ?? null;
}

/** An error of ioredis's holds the arguments of its command. */
function reportable(error: unknown): unknown {
  return error instanceof SessionError ? error : withoutArguments(error);
}

/** Whether two connections lead to the same server can't be known. */
class UnknownServer extends Error {
  constructor() {
    super("INFO has no run_id: whether the subscription is on the server that calls go to can't be known");
  }
}

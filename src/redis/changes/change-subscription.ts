import type { Redis } from 'ioredis';
import { SessionError } from '../../errors/session-error';
import type { ChangeSource } from '../../store/store';
import { isSessionId } from '../../token/token';
import { reconnectDelay } from '../client/client';
import { isConnectionLoss, isRefusal, withoutArguments } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import type { ServerKeys } from '../health/server-keys';
import type { ServerRights } from '../health/server-rights';

/** Heartbeats for which changes count as complete, counted from the sending of the last answered one. */
const LEASE_HEARTBEATS = 2;

/**
 * Milliseconds until a server that has refused the subscription is asked again. A new connection would be refused as
 * well.
 */
const REFUSED_AGAIN_MS = 60_000;

interface SubscriptionOptions {
  channels: readonly string[];
  serverKeys: ServerKeys;
  rights: ServerRights;
  heartbeatMs: number;
  changed(tag: string): void;
  gained(): void;
  /** @param source the lost source; `null` when there was none. */
  lost(source: ChangeSource | null, cause: unknown): void;
}

/** What one server announces, over a connection of its own. */
interface Source extends ChangeSource {
  completeUntil: number;
}

/**
 * A subscription to the changes that one server announces, and whether it is known to bring all of them. That takes
 * four things:
 *
 * - It is on the very server that the calls go to: both connections report the same `run_id`. When either breaks, both
 *   are asked again.
 * - Everything announced up to a moment has arrived. A server answers each connection in order, so the answer to a PING
 *   comes after earlier announcements.
 * - No other server is the master by then. Over the connection of the calls, the server has taken an empty write, which
 *   a replica refuses, and so does a master that has lost its replicas (`min-replicas-to-write`).
 * - Changes are announced at all: the server lets this process announce, and so other processes with the same rights.
 *
 * The last three make a heartbeat, which counts for two: a paused server or a lost network reports nothing.
 */
export class ChangeSubscription {
  readonly #connection: RedisConnection;
  readonly #server: string;
  readonly #options: SubscriptionOptions;
  readonly #heart: NodeJS.Timeout;
  readonly #begunAt = performance.now();
  #redis: Redis | null = null;
  /** The connection on which an attempt to subscribe is going on; `null` for none. */
  #subscribing: Redis['stream'] | null = null;
  #isSubscribed = false;
  /** Why the last attempt to subscribe failed. */
  #refusal: unknown = null;
  /** Why the last source was lost; `null` while changes arrive. */
  #lossCause: unknown = null;
  /** The time, by `performance.now()`, until which a server that refused the subscription is not asked again. */
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

  /** Why changes may be missed; `null` when that isn't known. */
  get refusal(): unknown {
    return this.#refusal ?? this.#lossCause;
  }

  /** Whether the server refuses the subscription or the announcement. */
  get isRefused(): boolean {
    return performance.now() < this.#refusedUntil;
  }

  /** Whether the first attempt is still going on. */
  get isComingUp(): boolean {
    if (this.isRefused) return false;
    return this.#source === null && performance.now() - this.#begunAt < LEASE_HEARTBEATS * this.#options.heartbeatMs;
  }

  /** Continues as another source. Gives the lost one. */
  renew(): ChangeSource | null {
    const completeUntil = this.#source?.completeUntil;
    const former = this.#giveUp();
    if (completeUntil !== undefined) this.#source = { completeUntil };
    return former;
  }

  /** Ends the subscription. Gives the lost source. */
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
      this.#refusal ??= reportable(error);
    });
    for (const event of ['close', 'end']) {
      redis?.on(event, () => {
        this.#subscribing = null;
        this.#lose(this.#refusal ?? brokenSubscription());
      });
    }
    redis?.on('message', (_channel: string, message: string) => {
      // A tag has the form of a session id.
      if (isSessionId(message)) this.#options.changed(message);
    });
  }

  async #subscribe(redis: Redis): Promise<void> {
    const { stream } = redis;
    this.#subscribing = stream;
    // The client may have connected again, perhaps to another server. That connection has an attempt of its own.
    const isOver = () => this.#subscribing !== stream;
    try {
      const [here, there] = await Promise.all([
        redis.info('server'),
        this.#connection.sendTo(this.#server, (client) => client.info('server')),
      ]);
      const [hereId, thereId] = [runIdIn(here), runIdIn(there)];
      if (hereId === null || thereId === null) throw new UnknownServer();
      if (hereId !== thereId) throw new Error('the subscription is connected to another server than the calls');
      if (isOver()) return;
      await redis.subscribe(...this.#options.channels);
      if (isOver()) return;
      this.#isSubscribed = true;
      this.#refusal = null;
    } catch (error) {
      if (!isOver()) this.#refused(error);
      return;
    } finally {
      if (!isOver()) this.#subscribing = null;
    }
    await this.#beat(redis);
  }

  #onBeat(): void {
    if (this.#source !== null && performance.now() >= this.#source.completeUntil) {
      this.#lose(new Error(`Redis left ${LEASE_HEARTBEATS} heartbeats of the subscription unanswered`));
    }
    // When no sentinel answers, the client's options may end a connection for good.
    if (this.#redis === null || this.#redis.status === 'end') this.#connect();
    else if (this.#isSubscribed) void this.#beat(this.#redis);
    else if (this.#subscribing !== null || this.#redis.status !== 'ready' || this.isRefused) return;
    // A server that refused may have other rights by now, and a new connection may lead to another server.
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
    this.#lossCause = null;
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
    this.#lossCause = cause;
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

/** The `run_id` of a server, which changes at each start; `null` when it gives none. */
function runIdIn(info: string): string | null {
  return /^run_id:(\w+)/m.exec(info)?.[1] ?? null;
}

function brokenSubscription(): Error {
  return new Error('the connection of the subscription broke');
}

/** An error of ioredis's holds the arguments of its command, and no reason for a lost connection. */
function reportable(error: unknown): unknown {
  if (isConnectionLoss(error)) return brokenSubscription();
  return error instanceof SessionError ? error : withoutArguments(error);
}

/** Nothing shows whether two connections lead to the same server. */
class UnknownServer extends Error {
  constructor() {
    super("INFO has no run_id: whether the subscription is on the server that calls go to can't be known");
  }
}

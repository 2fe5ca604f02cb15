import type { Redis } from 'ioredis';
import { SessionError } from '../../errors/session-error';
import type { ChangeSource } from '../../store/store';
import { isSessionId } from '../../token/token';
import { reconnectDelay } from '../client/client';
import { isBrokenConnection, isConnectionLoss, isRefusal, withoutArguments } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import type { ServerRights } from '../health/server-rights';

/** Heartbeats for which changes count as complete, counted from the sending of the last answered one. */
const LEASE_HEARTBEATS = 2;

interface SubscriptionOptions {
  channels: readonly string[];
  rights: ServerRights;
  heartbeatMs: number;
  changed(tag: string): void;
  gained(): void;
  lost(cause: unknown): void;
}

/** What one server announces, over a connection of its own. */
interface Source extends ChangeSource {
  completeUntil: number;
}

interface Subscribed {
  is: 'subscribed';
  /** `null` until a heartbeat is answered in time, and again after one has failed. */
  source: Source | null;
}

/**
 * - `connecting`: until ioredis reports a connection. Each one that breaks leads back here.
 * - `subscribing`: asks both servers who they are, and subscribes.
 * - `failed`: waits for the next beat to subscribe again.
 * - `subscribed`: each beat sends a heartbeat.
 * - `closed`: for good.
 *
 * Each transition makes a new object, by which an answer that comes too late is recognized.
 */
type State = { is: 'connecting' | 'subscribing' | 'failed' | 'closed' } | Subscribed;

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
  readonly #begunAt = performance.now();
  #redis: Redis | null = null;
  #state: State = { is: 'connecting' };
  /** What failed since the last answered heartbeat. */
  #cause: unknown = null;

  constructor(connection: RedisConnection, server: string, options: SubscriptionOptions) {
    this.#connection = connection;
    this.#server = server;
    this.#options = options;
    this.#connect();
  }

  /** The source while all of its changes arrive; else `null`. */
  get source(): ChangeSource | null {
    const source = this.#state.is === 'subscribed' ? this.#state.source : null;
    return source !== null && performance.now() < source.completeUntil ? source : null;
  }

  /** Why changes may be missed; `null` when that isn't known. */
  get cause(): unknown {
    return this.#cause;
  }

  /** Whether the server refuses the subscription or the announcement. */
  get isRefused(): boolean {
    return isRefusal(this.#cause) || this.#cause instanceof UnknownServer;
  }

  /** Whether the first attempt is still going on. */
  get isComingUp(): boolean {
    if (this.isRefused || this.source !== null) return false;
    return performance.now() - this.#begunAt < LEASE_HEARTBEATS * this.#options.heartbeatMs;
  }

  /** Goes on from every state in which nothing else does. Call it each `heartbeatMs`. */
  beat(): void {
    const [redis, state] = [this.#redis, this.#state];
    // When no sentinel answers, the client's options may end a connection for good.
    if (redis === null || redis.status === 'end') this.#connect();
    else if (state.is === 'subscribed') {
      if (state.source !== null && this.source === null) this.#lose(unanswered());
      void this.#sendHeartbeat(redis, state);
    } else if (state.is === 'failed') {
      // A server that refused may have other rights by now, and a new connection may lead to another server.
      if (this.isRefused) void this.#subscribe(redis);
      else redis.disconnect(true);
    }
  }

  /** Continues as another source. */
  renew(): void {
    const state = this.#state;
    const completeUntil = this.source?.completeUntil;
    this.#giveUp();
    if (state.is === 'subscribed' && completeUntil !== undefined) state.source = { completeUntil };
  }

  /** Ends the subscription. */
  close(): void {
    this.#giveUp();
    this.#state = { is: 'closed' };
    this.#redis?.disconnect();
  }

  #connect(): void {
    const redis = this.#connection.connectTo(this.#server, { retryStrategy: reconnectDelay });
    this.#redis = redis;
    this.#state = { is: 'connecting' };
    redis?.on('ready', () => void this.#subscribe(redis));
    redis?.on('error', (error) => {
      if (this.#cause === null || !isBrokenConnection(error)) this.#cause = reportable(error);
    });
    for (const event of ['close', 'end']) {
      redis?.on(event, () => {
        if (this.#state.is !== 'closed') this.#lose(this.#cause ?? brokenSubscription(), { is: 'connecting' });
      });
    }
    redis?.on('message', (_channel: string, message: string) => {
      // A tag has the form of a session id.
      if (isSessionId(message)) this.#options.changed(message);
    });
  }

  async #subscribe(redis: Redis): Promise<void> {
    if (this.#state.is === 'closed') return;
    const state: State = { is: 'subscribing' };
    this.#state = state;
    try {
      const [here, there] = await Promise.all([
        redis.info('server'),
        this.#connection.sendTo(this.#server, (client) => client.info('server')),
      ]);
      const [hereId, thereId] = [runIdIn(here), runIdIn(there)];
      if (hereId === null || thereId === null) throw new UnknownServer();
      if (hereId !== thereId) throw new Error('the subscription is connected to another server than the calls');
      // The client may have connected again, perhaps to another server. That connection has an attempt of its own.
      if (this.#state !== state) return;
      await redis.subscribe(...this.#options.channels);
    } catch (error) {
      if (this.#state === state) this.#lose(reportable(error), { is: 'failed' });
      return;
    }
    if (this.#state !== state) return;
    const subscribed: Subscribed = { is: 'subscribed', source: null };
    this.#state = subscribed;
    await this.#sendHeartbeat(redis, subscribed);
  }

  async #sendHeartbeat(redis: Redis, state: Subscribed): Promise<void> {
    const { rights, heartbeatMs } = this.#options;
    const timeoutMs = LEASE_HEARTBEATS * heartbeatMs;
    const completeUntil = performance.now() + timeoutMs;
    try {
      const [, , refusal] = await Promise.all([
        redis.ping(),
        rights.writeNothing(this.#server, timeoutMs),
        rights.refusalToAnnounce(this.#server, timeoutMs),
      ]);
      if (refusal !== null) throw refusal;
      if (performance.now() >= completeUntil && this.source === null) throw unanswered();
    } catch (error) {
      if (this.#state === state) this.#lose(reportable(error));
      return;
    }
    if (this.#state !== state) return;
    this.#cause = null;
    if (state.source !== null) {
      state.source.completeUntil = Math.max(state.source.completeUntil, completeUntil);
      return;
    }
    state.source = { completeUntil };
    this.#options.gained();
  }

  #lose(cause: unknown, next = this.#state): void {
    this.#giveUp();
    this.#state = next;
    this.#cause = cause;
    this.#options.lost(cause);
  }

  #giveUp(): void {
    if (this.#state.is !== 'subscribed') return;
    const { source } = this.#state;
    if (source !== null) source.completeUntil = Number.NEGATIVE_INFINITY;
    this.#state.source = null;
  }
}

/** The `run_id` of a server, which changes at each start; `null` when it gives none. */
function runIdIn(info: string): string | null {
  return /^run_id:(\w+)/m.exec(info)?.[1] ?? null;
}

function unanswered(): Error {
  return new Error(`Redis left ${LEASE_HEARTBEATS} heartbeats of the subscription unanswered`);
}

function brokenSubscription(): Error {
  return new Error('the connection of the subscription broke');
}

/** An error of ioredis's holds the arguments of its command, and no reason for a lost connection. */
function reportable(error: unknown): unknown {
  if (isConnectionLoss(error)) return brokenSubscription();
  return error instanceof SessionError || error instanceof UnknownServer ? error : withoutArguments(error);
}

/** Nothing shows whether two connections lead to the same server. */
class UnknownServer extends Error {
  constructor() {
    super("INFO has no run_id: whether the subscription is on the server that calls go to can't be known");
  }
}

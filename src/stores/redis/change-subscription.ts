import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { ChangeSource } from '../../core/store';
import { reconnectDelay } from './client';
import type { RedisConnection } from './connection';
import { withoutArguments } from './errors';

/** Heartbeats for which what was heard counts as complete, from the sending of the last one that was answered. */
const LEASE_HEARTBEATS = 2;

/** Probes in a row that may be lost before the subscription is made anew: it may have led to another server than the calls do. */
const MAX_LOST_PROBES = 3;

/** What a probe begins with. No tag does. */
const PROBE = '?';

interface SubscriptionOptions {
  channels: readonly string[];
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
 * A subscription to the changes that one server announces, and whether it is known to bring them all.
 *
 * That takes two things. It is on the very server that calls go to: a probe, published over the connection of the calls, has arrived here. And
 * everything up to a moment has arrived: a server answers each connection in order, so that the answer to a PING comes after all that was announced
 * before the PING. Neither is believed for longer than two heartbeats, for a server that is paused, or a network that is gone, says nothing at all.
 */
export class ChangeSubscription {
  readonly #connection: RedisConnection;
  readonly #server: string;
  readonly #options: SubscriptionOptions;
  readonly #heart: NodeJS.Timeout;
  #redis: Redis | null = null;
  #source: Source | null = null;
  /** The probe under way, and when it was sent. */
  #probe: { text: string; sentAt: number } | null = null;
  #lostProbes = 0;
  #isPinging = false;
  #isClosed = false;

  constructor(connection: RedisConnection, server: string, options: SubscriptionOptions) {
    this.#connection = connection;
    this.#server = server;
    this.#options = options;
    this.#connect();
    this.#heart = setInterval(() => this.#beat(), options.heartbeatMs).unref();
  }

  /** What is heard; `null` while it may not be all. */
  get source(): ChangeSource | null {
    return this.#source !== null && performance.now() < this.#source.completeUntil ? this.#source : null;
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#heart);
    if (this.#source !== null) this.#source.completeUntil = Number.NEGATIVE_INFINITY;
    this.#source = null;
    this.#redis?.disconnect();
  }

  #connect(): void {
    const redis = this.#connection.connectTo(this.#server, { retryStrategy: reconnectDelay });
    this.#redis = redis;
    redis?.on('ready', () => void this.#subscribe(redis));
    redis?.on('close', () => this.#lose(new Error('the connection of the subscription broke')));
    redis?.on('message', (_channel: string, message: string) => this.#hear(message));
  }

  async #subscribe(redis: Redis): Promise<void> {
    try {
      await redis.subscribe(...this.#options.channels);
    } catch (error) {
      this.#lose(withoutArguments(error));
      // One that Redis refuses it would refuse again at once; a broken connection is made anew anyway.
      return;
    }
    this.#probe = null;
    await this.#sendProbe();
  }

  #beat(): void {
    if (this.#redis === null) this.#connect();
    if (this.#source !== null && performance.now() >= this.#source.completeUntil) {
      this.#lose(new Error(`Redis left ${LEASE_HEARTBEATS} heartbeats of the subscription unanswered`));
    }
    void (this.#source === null ? this.#sendProbe() : this.#ping());
  }

  async #ping(): Promise<void> {
    const source = this.#source;
    if (this.#redis === null || source === null || this.#isPinging) return;
    const sentAt = performance.now();
    this.#isPinging = true;
    try {
      await this.#redis.ping();
      if (source === this.#source) source.completeUntil = this.#leaseFrom(sentAt);
    } catch {
      // The connection broke, of which it tells.
    }
    this.#isPinging = false;
  }

  /** The answer is the message that arrives here. */
  async #sendProbe(): Promise<void> {
    if (this.#redis?.status !== 'ready' || this.#isClosed) return;
    if (this.#probe !== null) {
      if (performance.now() < this.#leaseFrom(this.#probe.sentAt)) return;
      this.#probe = null;
      if (++this.#lostProbes >= MAX_LOST_PROBES) {
        this.#lostProbes = 0;
        this.#redis.disconnect(true);
        return;
      }
    }
    const probe = { text: PROBE + randomUUID(), sentAt: performance.now() };
    this.#probe = probe;
    const [channel = ''] = this.#options.channels;
    try {
      await this.#connection.sendTo(this.#server, (redis) => redis.publish(channel, probe.text));
    } catch (error) {
      this.#lose(error);
    }
  }

  #hear(message: string): void {
    if (!message.startsWith(PROBE)) this.#options.changed(message);
    else if (this.#probe?.text === message && !this.#isClosed) this.#gain(this.#probe.sentAt);
  }

  #gain(probedAt: number): void {
    const completeUntil = this.#leaseFrom(probedAt);
    this.#probe = null;
    this.#lostProbes = 0;
    if (performance.now() >= completeUntil) return;
    this.#source = { completeUntil };
    this.#options.gained();
  }

  #lose(cause: unknown): void {
    if (this.#isClosed) return;
    const source = this.#source;
    if (source !== null) source.completeUntil = Number.NEGATIVE_INFINITY;
    this.#source = null;
    this.#options.lost(source, cause);
  }

  #leaseFrom(sentAt: number): number {
    return sentAt + LEASE_HEARTBEATS * this.#options.heartbeatMs;
  }
}

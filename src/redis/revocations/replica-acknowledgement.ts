import type { Redis } from 'ioredis';
import { integer, optional, type Readers, readOptions } from '../../errors/arguments';
import { SessionError } from '../../errors/session-error';
import { isConnectionLoss, isError, lostForNoKnownReason, withoutArguments } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import { IDLE_MS } from '../connection/idle-connections';
import { defineScripts, type ScriptCommands } from '../connection/script-commands';
import { type Revocation, revocationArguments } from './revocations';

/** How many replicas must confirm an end before its call resolves. */
export interface Durability {
  /** Replicas that must have the end. Required. Range 1 to 100. */
  replicas: number;
  /** Milliseconds to wait for the replicas. Default: half of the store's `timeoutMs`, which is also the maximum. */
  timeoutMs?: number | undefined;
}

/** @throws TypeError or RangeError naming the option that is missing, unknown or of the wrong kind. */
export function readDurability(durability: Durability, storeTimeoutMs: number) {
  const readers = {
    replicas: integer(1, 100),
    timeoutMs: optional(integer(1, storeTimeoutMs), Math.ceil(storeTimeoutMs / 2)),
  } satisfies Readers<Durability>;
  return readOptions('durability', durability, readers, 'durability.');
}

interface Waiting {
  key: string;
  revocation: Revocation;
  settle: (acknowledgedBy: number | Error) => void;
}

/** A connection of our own to one server, on which one WAIT at a time may block. */
interface Lane {
  redis: Redis;
  scripts: ScriptCommands;
  waiting: Waiting[];
  isBusy: boolean;
  /** When it was last free, by `performance.now()`. */
  freeAt: number;
  /** The first error of the connection, which says more than those of its commands; `null` for none. */
  error: unknown;
}

/**
 * Waits until replicas have a revocation.
 *
 * WAIT blocks its connection, and counts only the writes of that connection. So each server has a connection for it, on
 * which the revocation is written once more. Revocations that come during a WAIT share the next one.
 */
export class ReplicaAcknowledgement {
  readonly #connection: RedisConnection;
  readonly #replicas: number;
  readonly #timeoutMs: number;
  readonly #lanes = new Map<string, Lane>();
  #isClosed = false;

  constructor(connection: RedisConnection, { replicas, timeoutMs }: ReturnType<typeof readDurability>) {
    this.#connection = connection;
    this.#replicas = replicas;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Resolves when enough replicas have it. Settles before `deadline`, a moment of `performance.now()`.
   *
   * @throws SessionError `ERR_NOT_REPLICATED` when too few have it, or when that can't be found out.
   */
  confirm(key: string, revocation: Revocation, deadline: number): Promise<void> {
    const lane = this.#laneTo(this.#connection.serverOf(key));
    return new Promise((resolve, reject) => {
      const settle = (acknowledgedBy: number | Error) => {
        clearTimeout(timer);
        if (typeof acknowledgedBy === 'number' && acknowledgedBy >= this.#replicas) resolve();
        else reject(this.#notReplicated(acknowledgedBy));
      };
      const timer = setTimeout(() => setImmediate(settle, 0), Math.max(0, deadline - performance.now()));
      if (lane === null) return settle(0);
      lane.waiting.push({ key, revocation, settle });
      if (!lane.isBusy) void this.#work(lane);
    });
  }

  /** The client has lost this server, or all: the lanes may lead to another than the next calls. */
  lost(server?: string): void {
    for (const [address, { redis }] of this.#lanes) {
      if (server !== undefined && address !== server) continue;
      this.#lanes.delete(address);
      redis.disconnect();
    }
  }

  close(): void {
    this.#isClosed = true;
    this.lost();
  }

  async #work(lane: Lane): Promise<void> {
    lane.isBusy = true;
    while (lane.waiting.length > 0) await this.#acknowledge(lane, lane.waiting.splice(0));
    lane.isBusy = false;
    lane.freeAt = performance.now();
  }

  async #acknowledge(lane: Lane, batch: readonly Waiting[]): Promise<void> {
    const { redis, scripts } = lane;
    const writes = batch.map(({ key, revocation }) => scripts.revoke(1, key, ...revocationArguments(revocation)));
    const wait = redis.call('WAIT', this.#replicas, this.#timeoutMs).then(Number, asError);
    // A silent connection would block all later revocations.
    const timer = setTimeout(() => redis.disconnect(), this.#timeoutMs + this.#connection.timeoutMs);
    const written = await Promise.all(writes.map((write) => write.then(() => null, asError)));
    const acknowledgedBy = await wait;
    clearTimeout(timer);
    for (const [index, { settle }] of batch.entries()) {
      const outcome = written[index] ?? acknowledgedBy;
      settle(isConnectionLoss(outcome) ? reasonOf(lane) : outcome);
    }
  }

  #laneTo(server: string): Lane | null {
    if (this.#isClosed) return null;
    const existing = this.#lanes.get(server);
    if (existing !== undefined && !isIdle(existing)) return existing;
    existing?.redis.disconnect();
    // A lost server may never come back; the next revocation connects again.
    const redis = this.#connection.connectTo(server, { retryStrategy: null });
    if (redis === null) return null;
    const lane: Lane = {
      redis,
      scripts: defineScripts(redis),
      waiting: [],
      isBusy: false,
      freeAt: performance.now(),
      error: null,
    };
    redis.on('error', (error: unknown) => {
      lane.error ??= error;
    });
    redis.once('end', () => {
      if (this.#lanes.get(server) === lane) this.#lanes.delete(server);
    });
    this.#lanes.set(server, lane);
    return lane;
  }

  #notReplicated(acknowledgedBy: number | Error): SessionError {
    if (typeof acknowledgedBy === 'number') {
      return new SessionError(
        'ERR_NOT_REPLICATED',
        `the sessions have ended, but only ${acknowledgedBy} of ${this.#replicas} replicas confirmed it in time`,
      );
    }
    const message = 'the sessions have ended, but no replica could be asked to confirm it';
    return new SessionError('ERR_NOT_REPLICATED', message, { cause: withoutArguments(acknowledgedBy) });
  }
}

/** Whether a firewall, for example, may have dropped the connection. */
function isIdle({ isBusy, freeAt }: Lane): boolean {
  return !isBusy && performance.now() - freeAt > IDLE_MS;
}

function reasonOf({ error }: Lane): Error {
  return isError(error) && !isConnectionLoss(error) ? error : lostForNoKnownReason();
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';

/**
 * Milliseconds without a call after which something on the way, such as a firewall, may have dropped a connection
 * without a word.
 */
export const IDLE_MS = 5000;

/**
 * Tries connections that have been idle before calls use them. One that gives no answer is broken, so that the client
 * makes another.
 *
 * All connections of a client that was idle are tried before the next call. Of a Cluster in use, those to nodes that
 * nobody asks for are tried meanwhile.
 */
export class IdleConnections {
  readonly #client: Redis | Cluster;
  readonly #patienceMs: number;
  #usedAt = performance.now();
  #lookedAt = performance.now();
  /** For each connection the bytes it had read when it was last looked at. */
  readonly #bytesRead = new WeakMap<Redis, number>();
  #mustTry = false;
  #trying: Promise<void> | null = null;

  /** @param patienceMs how long an answer may take. */
  constructor(client: Redis | Cluster, patienceMs: number) {
    this.#client = client;
    this.#patienceMs = patienceMs;
  }

  /** Takes note of a call, and tells whether the connections have to be tried before it. */
  mustTryFirst(): boolean {
    const now = performance.now();
    if (now - this.#usedAt > IDLE_MS) this.#mustTry = true;
    else if (now - this.#lookedAt > IDLE_MS) this.#tryUnused(now);
    this.#usedAt = now;
    return this.#mustTry;
  }

  /** Tries all connections. Resolves when each has answered, or is broken. */
  tryAll(): Promise<void> {
    this.#trying ??= Promise.all(this.#connections().map((redis) => this.#try(redis))).then(() => {
      this.#trying = null;
      this.#mustTry = false;
    });
    return this.#trying;
  }

  #connections(): Redis[] {
    const all = this.#client.isCluster ? (this.#client as Cluster).nodes() : [this.#client as Redis];
    return all.filter(({ status }) => status === 'ready');
  }

  #tryUnused(now: number): void {
    this.#lookedAt = now;
    for (const redis of this.#connections()) {
      const { bytesRead } = redis.stream;
      if (this.#bytesRead.get(redis) === bytesRead) void this.#try(redis);
      this.#bytesRead.set(redis, bytesRead);
    }
  }

  async #try(redis: Redis): Promise<void> {
    const { stream } = redis;
    const { bytesRead } = stream;
    // What every user of ours may ask; and a refusal is an answer, too.
    const settled = redis.time().catch(() => undefined);
    await Promise.race([settled, sleep(this.#patienceMs, undefined, { ref: false })]);
    // Timers go before sockets: when this process was held up, the answer may be here and not yet read.
    await nextTurn();
    if (stream.bytesRead !== bytesRead || redis.status !== 'ready') return;
    const closed = new Promise((resolve) => redis.once('close', resolve));
    stream.destroy(new Error('the connection was idle and gives no answer any more'));
    await closed;
  }
}

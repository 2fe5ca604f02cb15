import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';

/** Milliseconds without a call after which a firewall, for example, may silently have dropped a connection. */
export const IDLE_MS = 5000;

/**
 * Tests idle connections before calls use them, and breaks those without an answer, so that the client makes new ones.
 *
 * After an idle time of the client, all its connections are tested before the next call. In a busy Cluster, the
 * connections to unused nodes are tested meanwhile.
 */
export class IdleConnections {
  readonly #client: Redis | Cluster;
  readonly #patienceMs: number;
  #usedAt = performance.now();
  #lookedAt = performance.now();
  /** For each connection, the bytes it had read at the last look. */
  readonly #bytesRead = new WeakMap<Redis, number>();
  #trying: Promise<void> | null = null;

  /** @param patienceMs how long an answer may take. */
  constructor(client: Redis | Cluster, patienceMs: number) {
    this.#client = client;
    this.#patienceMs = patienceMs;
  }

  /** Records a call. Gives whether it must wait for {@link tested}. */
  mustTryFirst(): boolean {
    const now = performance.now();
    if (now - this.#usedAt > IDLE_MS) this.#trying ??= this.#tryAll();
    else if (now - this.#lookedAt > IDLE_MS) this.#tryUnused(now);
    this.#usedAt = now;
    return this.#trying !== null;
  }

  /** Resolves when no connection is being tested: each has answered or is broken. */
  get tested(): Promise<void> | null {
    return this.#trying;
  }

  async #tryAll(): Promise<void> {
    await Promise.all(this.#connections().map((redis) => this.#try(redis)));
    this.#trying = null;
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
    // A command that every ACL of ours permits; and a refusal is an answer, too.
    const settled = redis.time().catch(() => undefined);
    await Promise.race([settled, sleep(this.#patienceMs, undefined, { ref: false })]);
    // Node runs timers before sockets: after a delay of this process, the answer may wait unread.
    await nextTurn();
    if (stream.bytesRead !== bytesRead || redis.status !== 'ready') return;
    const closed = new Promise((resolve) => redis.once('close', resolve));
    stream.destroy(new Error('the idle connection does not answer'));
    await closed;
  }
}

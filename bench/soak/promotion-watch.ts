import { setTimeout as sleep } from 'node:timers/promises';
import { askInfo, type RedisServer } from '../../test/support/redis-server';
import { monotonicMs } from '../monotonic';
import type { Fault } from './faults';

const POLL_MS = 200;
/** The longest time from a cause to its unplanned promotion. */
const REASON_MS = 5000;

/** Watches for replicas that become masters. */
export class PromotionWatch {
  readonly #nodes: readonly RedisServer[];
  readonly #isMaster = new Map<RedisServer, boolean>();
  readonly #promotions: { port: number; at: number }[] = [];
  readonly #watching: Promise<void>;
  #isStopped = false;

  constructor(nodes: readonly RedisServer[]) {
    this.#nodes = nodes;
    this.#watching = this.#watch();
  }

  /** Ends, and returns the promotions that none of these faults explains; each explains its first. */
  async unplanned(planned: readonly Fault[]): Promise<Fault[]> {
    this.#isStopped = true;
    await this.#watching;
    // It is seen a moment after it happened.
    const isAround = ({ at, healedAt }: Fault, seen: number) => at <= seen && seen <= healedAt + 2 * POLL_MS;
    const explained = new Set<Fault>();
    return this.#promotions.flatMap(({ port, at }) => {
      const around = planned.find((fault) => isAround(fault, at));
      if (around !== undefined && around.promotedAt !== null && !explained.has(around)) {
        explained.add(around);
        return [];
      }
      const fault: Fault = {
        kind: 'unplanned',
        port,
        slots: around?.slots ?? null,
        at: around?.at ?? at - REASON_MS,
        promotedAt: at,
        backAt: at,
        letGoAt: null,
        healedAt: around?.healedAt ?? at + REASON_MS,
      };
      return [fault];
    });
  }

  async #watch(): Promise<void> {
    while (!this.#isStopped) {
      await Promise.all(this.#nodes.map((node) => this.#look(node)));
      await sleep(POLL_MS);
    }
  }

  async #look(node: RedisServer): Promise<void> {
    if (!node.isUp) return;
    const info = await askInfo(node, 'INFO', 'replication').catch(() => null);
    if (info === null) return;
    const isMaster = info.role === 'master';
    if (isMaster && this.#isMaster.get(node) === false) this.#promotions.push({ port: node.port, at: monotonicMs() });
    this.#isMaster.set(node, isMaster);
  }
}

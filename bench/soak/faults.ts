import { setTimeout as sleep } from 'node:timers/promises';
import { askInfo, type RedisServer } from '../../test/support/redis-server';
import { machineNow } from './clock';
import { isIn, keyOf, slotOf } from './keys';
import type { SlotRange, Topology } from './topologies';

/**
 * `kill`: SIGKILL, and a new start, empty, after the promotion. `pause`: SIGSTOP until after the promotion. `stall`: SIGSTOP for less than
 * it takes to be replaced. `unplanned`: a promotion that the soak didn't ask for; a busy machine brings them.
 */
export type FaultKind = 'kill' | 'pause' | 'stall' | 'unplanned';

/** What was done to a master. Moments are of {@link machineNow}. */
export interface Fault {
  kind: FaultKind;
  port: number;
  /** Whose sessions were on it; `null` for everybody's. */
  slots: readonly SlotRange[] | null;
  at: number;
  promotedAt: number | null;
  /** When it was resumed or started again. */
  backAt: number;
  healedAt: number;
}

const KINDS = ['kill', 'pause', 'kill', 'pause', 'stall'] as const;
const CALM_MS = 1500;
/** Less than the servers need to take each other for down, more than any call waits. */
const STALL_MS = 700;
/** How long a killed master is away after the promotion. */
const AWAY_MS = 500;
/** A fault is not begun with less of the time left: it would be over after the load. */
const MIN_LEFT_MS = 4000;
const POLL_MS = 200;
const POLLS_BEFORE_MS = 5000;

/** Kills, pauses and stalls masters in turn, until the time is up; each when the topology has healed of the last. */
export async function makeFaults(options: {
  topology: Topology;
  /** A token that is in use, at random. */
  anyToken: () => string;
  until: number;
  onFault: (fault: Fault, number: number) => void;
}): Promise<Fault[]> {
  const { topology, anyToken, until, onFault } = options;
  const faults: Fault[] = [];
  while (machineNow() < until - MIN_LEFT_MS) {
    const kind = KINDS[faults.length % KINDS.length] as (typeof KINDS)[number];
    const fault = await makeFault(topology, kind, otherToken(anyToken, faults.at(-1)));
    faults.push(fault);
    onFault(fault, faults.length);
    await sleep(CALM_MS);
  }
  await sleep(Math.max(0, until - machineNow()));
  return faults;
}

/** One whose user is not on the servers of the last fault, where there are others. */
function otherToken(anyToken: () => string, last: Fault | undefined): string {
  let token = anyToken();
  for (let tries = 0; last !== undefined && tries < 50 && isIn(last.slots, slotOf(token)); tries++) token = anyToken();
  return token;
}

async function makeFault(topology: Topology, kind: (typeof KINDS)[number], token: string): Promise<Fault> {
  const key = keyOf(token);
  const master = await topology.masterOf(key);
  const slots = await topology.slotsOf(master);
  const at = machineNow();
  let promotedAt: number | null = null;
  if (kind === 'kill') await master.kill();
  else master.pause();
  try {
    if (kind === 'stall') await sleep(STALL_MS);
    else {
      await topology.untilPromoted(key, master);
      promotedAt = machineNow();
    }
    if (kind === 'kill') {
      await sleep(AWAY_MS);
      await master.restart();
    }
  } finally {
    if (kind !== 'kill') master.resume();
  }
  const backAt = machineNow();
  await topology.untilHealed();
  return { kind, port: master.port, slots, at, promotedAt, backAt, healedAt: machineNow() };
}

/** Watches for replicas that become masters. */
export class PromotionWatch {
  readonly #nodes: readonly RedisServer[];
  readonly #roles = new Map<RedisServer, { isMaster: boolean; at: number }>();
  readonly #promotions: { port: number; before: number; after: number }[] = [];
  #stopped = false;
  readonly #watching: Promise<void>;

  constructor(nodes: readonly RedisServer[]) {
    this.#nodes = nodes;
    this.#watching = this.#watch();
  }

  /** Ends, and gives the promotions that none of these faults explains, as faults. */
  async unplanned(planned: readonly Fault[]): Promise<Fault[]> {
    this.#stopped = true;
    await this.#watching;
    const explains = ({ at, healedAt, kind }: Fault, seen: number) =>
      kind !== 'stall' && at <= seen && seen <= healedAt;
    return this.#promotions
      .filter(({ after }) => !planned.some((fault) => explains(fault, after)))
      .map(({ port, before, after }) => ({
        kind: 'unplanned',
        port,
        slots: null,
        at: before - POLLS_BEFORE_MS,
        promotedAt: after,
        backAt: after,
        healedAt: after + POLLS_BEFORE_MS,
      }));
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      await Promise.all(this.#nodes.map((node) => this.#look(node)));
      await sleep(POLL_MS);
    }
  }

  async #look(node: RedisServer): Promise<void> {
    if (!node.isUp) return;
    const info = await askInfo(node, 'INFO', 'replication').catch(() => null);
    if (info === null) return;
    const before = this.#roles.get(node);
    const isMaster = info.role === 'master';
    const at = machineNow();
    if (before !== undefined && !before.isMaster && isMaster) {
      this.#promotions.push({ port: node.port, before: before.at, after: at });
    }
    this.#roles.set(node, { isMaster, at });
  }
}

import type { RedisTarget } from 'tokensession';
import { startClusterTopology } from '../../test/support/cluster-topology';
import { ask, type RedisServer } from '../../test/support/redis-server';
import { startSentinelTopology } from '../../test/support/sentinel-topology';

/** First and last slot. */
export type SlotRange = readonly [first: number, last: number];

/** Several servers that fail over, whichever way. */
export interface Topology {
  readonly title: string;
  readonly target: RedisTarget;
  /** Those that keep sessions. */
  readonly nodes: readonly RedisServer[];
  /** The server that has this key. */
  masterOf(key: string): Promise<RedisServer>;
  /** Which keys' slots this master has; `null` for all keys. */
  slotsOf(master: RedisServer): Promise<readonly SlotRange[] | null>;
  /** Has a replica take over from this master, which goes on until then. */
  handOver(master: RedisServer): Promise<void>;
  /** Waits until another server than this has the key, and serves. */
  untilPromoted(key: string, otherThan: RedisServer): Promise<RedisServer>;
  /** Waits until all servers are up, in their roles and linked. */
  untilHealed(): Promise<void>;
  stop(): Promise<void>;
}

const DOWN_AFTER_MS = 1000;

export async function startSentinels(): Promise<Topology> {
  const topology = await startSentinelTopology({ downAfterMs: DOWN_AFTER_MS });
  return {
    title: 'Sentinel: 1 master, 2 replicas, 3 sentinels',
    target: { sentinels: topology.sentinels, name: topology.name },
    nodes: topology.nodes,
    masterOf: () => topology.master(),
    slotsOf: async () => null,
    async handOver() {
      const [sentinel] = topology.sentinelServers;
      if (sentinel !== undefined) await ask(sentinel, 'SENTINEL', 'FAILOVER', topology.name);
    },
    untilPromoted: (_key, otherThan) => topology.untilMaster(otherThan),
    untilHealed: () => topology.untilHealed(),
    stop: () => topology.stop(),
  };
}

export async function startCluster(): Promise<Topology> {
  const topology = await startClusterTopology({ nodeTimeoutMs: DOWN_AFTER_MS });
  return {
    title: 'Cluster: 3 masters, 3 replicas',
    target: { cluster: topology.startupNodes },
    nodes: topology.nodes,
    masterOf: (key) => topology.ownerOf(key),
    async slotsOf(master) {
      const slots = await ask<[first: number, last: number, owner: [host: string, port: number]][]>(
        master,
        'CLUSTER',
        'SLOTS',
      );
      return slots.filter(([, , [, port]]) => port === master.port).map(([first, last]) => [first, last] as const);
    },
    async handOver(master) {
      await ask(await topology.replicaOf(master), 'CLUSTER', 'FAILOVER');
    },
    untilPromoted: (key, otherThan) => topology.untilOwner(key, otherThan),
    untilHealed: () => topology.untilHealed(),
    stop: () => topology.stop(),
  };
}

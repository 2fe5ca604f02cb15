import { randomBytes } from 'node:crypto';
import type { ClusterSettings, SentinelSettings } from 'tokensession';
import { startClusterTopology } from '../../test/support/cluster-topology';
import { ask, type RedisServer } from '../../test/support/redis-server';
import { startSentinelTopology } from '../../test/support/sentinel-topology';

/** The first and the last slot. */
export type SlotRange = readonly [first: number, last: number];

/** Several servers with failover of any kind. */
export interface Topology {
  readonly title: string;
  /** Client settings without the password. One of the names in them does not resolve. */
  readonly target: SentinelSettings | ClusterSettings;
  /** The current password of the servers. It changes. */
  readonly password: { readonly now: string };
  /** The servers that store sessions. */
  readonly nodes: readonly RedisServer[];
  /** The server with this key. */
  masterOf(key: string): Promise<RedisServer>;
  /** Selects the keys whose slots this master has; `null` for all keys. */
  slotsOf(master: RedisServer): Promise<readonly SlotRange[] | null>;
  /** Has a replica take over from this master, which goes on until then. */
  handOver(master: RedisServer): Promise<void>;
  /** Gives the servers another password, announces it, and cuts off all who came in by the former one. */
  changePassword(announce: (password: string) => void): Promise<void>;
  /** Waits until another server than this has the key, and serves. */
  untilPromoted(key: string, otherThan: RedisServer): Promise<RedisServer>;
  /** Waits until all servers are up, in their roles and linked. */
  untilHealed(): Promise<void>;
  stop(): Promise<void>;
}

const DOWN_AFTER_MS = 1000;
const GONE = { host: 'gone.invalid' };

export async function startSentinels(): Promise<Topology> {
  const password = new Password();
  const topology = await startSentinelTopology({ downAfterMs: DOWN_AFTER_MS, password: password.now });
  return {
    title: 'Sentinel: 1 master, 2 replicas, 3 sentinels',
    target: { sentinels: [GONE, ...topology.sentinels], name: topology.name },
    password,
    nodes: topology.nodes,
    masterOf: () => topology.master(),
    slotsOf: async () => null,
    async handOver() {
      const [sentinel] = topology.sentinelServers;
      if (sentinel !== undefined) await ask(sentinel, 'SENTINEL', 'FAILOVER', topology.name);
    },
    changePassword: (announce) =>
      password.change(topology.nodes, announce, async (now) => {
        for (const sentinel of topology.sentinelServers)
          await ask(sentinel, 'SENTINEL', 'SET', topology.name, 'auth-pass', now);
      }),
    untilPromoted: (_key, otherThan) => topology.untilMaster(otherThan),
    untilHealed: () => topology.untilHealed(),
    stop: () => topology.stop(),
  };
}

export async function startCluster(): Promise<Topology> {
  const password = new Password();
  const topology = await startClusterTopology({ nodeTimeoutMs: DOWN_AFTER_MS, password: password.now });
  return {
    title: 'Cluster: 3 masters, 3 replicas',
    target: { cluster: [GONE, ...topology.startupNodes] },
    password,
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
    changePassword: (announce) => password.change(topology.nodes, announce),
    untilPromoted: (key, otherThan) => topology.untilOwner(key, otherThan),
    untilHealed: () => topology.untilHealed(),
    stop: () => topology.stop(),
  };
}

/** The password of all servers of a topology. */
class Password {
  now = randomBytes(16).toString('hex');

  async change(
    nodes: readonly RedisServer[],
    announce: (password: string) => void,
    tellSentinels?: (password: string) => Promise<void>,
  ): Promise<void> {
    this.now = randomBytes(16).toString('hex');
    const askAll = (...command: [string, ...string[]]) => Promise.all(nodes.map((node) => ask(node, ...command)));
    for (const setting of ['masterauth', 'requirepass']) await askAll('CONFIG', 'SET', setting, this.now);
    for (const { admin } of nodes) admin.options.password = this.now;
    // A server that is killed has to come back with it.
    await askAll('CONFIG', 'REWRITE');
    await tellSentinels?.(this.now);
    announce(this.now);
    for (const type of ['normal', 'pubsub']) await askAll('CLIENT', 'KILL', 'TYPE', type);
  }
}

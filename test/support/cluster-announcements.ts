import type { ClusterTopology } from './cluster-topology';
import { ask, type RedisServer } from './redis-server';
import { until } from './until';

/** The setting of Redis 7.0 and later. */
const TYPE = 'cluster-preferred-endpoint-type';

/**
 * Has clients find one node by a name, at most 45 characters long. In Redis 6.2 the name takes the place of the
 * address, for the other nodes as well. They keep their open connections to it, and make no new ones.
 */
export async function announceName({ nodes }: ClusterTopology, named: RedisServer, name: string): Promise<void> {
  if (!(await hasTypes(nodes))) {
    await setAll([named], 'cluster-announce-ip', name);
    await untilAllShow(nodes, [name]);
    return;
  }
  await Promise.all(
    nodes.map((node) => setAll([node], 'cluster-announce-hostname', node === named ? name : 'localhost')),
  );
  await untilAllShow(nodes, [name, 'localhost']);
  await setAll(nodes, TYPE, 'hostname');
}

/**
 * Has clients find nodes without an address, or only with a question mark for a name. A Redis 6.2 that announces no
 * address gets one from the other nodes. So all nodes first announce a question mark.
 */
export async function hideAddresses({ nodes }: ClusterTopology, as: '' | '?'): Promise<void> {
  if (await hasTypes(nodes)) return setAll(nodes, TYPE, as === '' ? 'unknown-endpoint' : 'hostname');
  await setAll(nodes, 'cluster-announce-ip', '?');
  await untilAllShow(nodes, [' ?:']);
  if (as === '') await setAll(nodes, 'cluster-announce-ip', '');
}

/** Ends {@link announceName} and {@link hideAddresses}. */
export async function showAddresses(cluster: ClusterTopology): Promise<void> {
  const { nodes } = cluster;
  if (await hasTypes(nodes)) {
    await setAll(nodes, TYPE, 'ip');
    await setAll(nodes, 'cluster-announce-hostname', '');
    return;
  }
  await Promise.all(nodes.map((node) => setAll([node], 'cluster-announce-ip', node.host)));
  const pairs = nodes.flatMap((node, i) => nodes.slice(i + 1).map((other) => [node, other] as const));
  await Promise.all(pairs.map(([node, other]) => ask(node, 'CLUSTER', 'MEET', other.host, other.port)));
  await cluster.untilHealed();
}

async function hasTypes([node]: readonly RedisServer[]): Promise<boolean> {
  return (await ask<string[]>(node as RedisServer, 'CONFIG', 'GET', TYPE)).length > 0;
}

async function setAll(nodes: readonly RedisServer[], setting: string, value: string): Promise<void> {
  await Promise.all(nodes.map((node) => ask(node, 'CONFIG', 'SET', setting, value)));
}

/** Waits until each node shows all these words. */
async function untilAllShow(nodes: readonly RedisServer[], words: readonly string[]): Promise<void> {
  await until(`the nodes know ${words}`, async () => {
    const texts = await Promise.all(nodes.map((node) => ask<string>(node, 'CLUSTER', 'NODES')));
    return texts.every((text) => words.every((word) => text.includes(word)));
  });
}

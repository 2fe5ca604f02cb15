import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClusterTopology } from './cluster-topology';
import { ask, askInfo, type RedisServer } from './redis-server';
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
 * Has clients find nodes without an address, or only with a question mark for a name. Nodes of Redis 6.2 learn
 * addresses from each other's messages. So they start again with no address in their files, and can't connect to each
 * other.
 */
export async function hideAddresses({ nodes }: ClusterTopology, as: '' | '?'): Promise<void> {
  if (await hasTypes(nodes)) return setAll(nodes, TYPE, as === '' ? 'unknown-endpoint' : 'hostname');
  await setAll(nodes, 'cluster-announce-ip', as);
  const files = await Promise.all(nodes.map(fileOfNodes));
  await Promise.all(nodes.map((node) => ask(node, 'CONFIG', 'REWRITE')));
  await Promise.all(nodes.map((node) => node.kill()));
  await Promise.all(files.map((file) => hideAddressesIn(file, as)));
  await Promise.all(nodes.map((node) => node.restart()));
  await until('the nodes serve', async () => {
    const states = await Promise.all(nodes.map((node) => askInfo(node, 'CLUSTER', 'INFO')));
    return states.every(({ cluster_state }) => cluster_state === 'ok');
  });
  const texts = await Promise.all(nodes.map((node) => ask<string>(node, 'CLUSTER', 'NODES')));
  if (texts.some((text) => text !== hidden(text, as))) throw new Error(`a node shows an address:\n${texts.join('')}`);
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

/** The file in which a node keeps what it knows of the nodes. */
async function fileOfNodes(node: RedisServer): Promise<string> {
  const [, dir = ''] = await ask<string[]>(node, 'CONFIG', 'GET', 'dir');
  return join(dir, 'nodes.conf');
}

async function hideAddressesIn(file: string, as: string): Promise<void> {
  await writeFile(file, hidden(await readFile(file, 'utf8'), as));
}

/** Lines of CLUSTER NODES with another address: `<id> <address>:<port>@<bus port> …`. */
const hidden = (lines: string, as: string) => lines.replace(/^(\w{40}) \S*(:\d+@)/gm, `$1 ${as}$2`);

/** Waits until each node shows all these words. */
async function untilAllShow(nodes: readonly RedisServer[], words: readonly string[]): Promise<void> {
  await until(`the nodes know ${words}`, async () => {
    const texts = await Promise.all(nodes.map((node) => ask<string>(node, 'CLUSTER', 'NODES')));
    return texts.every((text) => words.every((word) => text.includes(word)));
  });
}

import type { Cluster, Redis } from 'ioredis';

/** How often each Cluster has asked a node for a key that is just being moved to it. */
const askings = new WeakMap<Cluster, { count: number }>();
const quieted = new WeakSet<Redis>();

/**
 * Keeps a fault of ioredis from ending the process: following an ASK, it sends ASKING to the other node and leaves the promise to
 * itself, so that a node that dies or hangs in the middle of a migration is a rejection that nobody catches. The command that follows
 * fails as well, and its caller is told.
 */
export function catchAsking(cluster: Cluster): void {
  if (askings.has(cluster)) return;
  const tally = { count: 0 };
  askings.set(cluster, tally);
  const catchOf = (node: Redis) => quiet(node, tally);
  for (const node of cluster.nodes()) catchOf(node);
  cluster.on('+node', catchOf);
}

/** How often calls of this Cluster have been sent on so, since {@link catchAsking}. */
export function askingsOf(cluster: Cluster): number {
  return askings.get(cluster)?.count ?? 0;
}

function quiet(node: Redis, tally: { count: number }): void {
  if (quieted.has(node)) return;
  quieted.add(node);
  const asking = node.asking.bind(node);
  node.asking = () => {
    tally.count++;
    const answer = asking();
    answer.catch(() => undefined);
    return answer;
  };
}

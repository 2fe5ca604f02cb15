import type { Cluster, Redis } from 'ioredis';

const quieted = new WeakSet<Cluster | Redis>();

/**
 * Keeps a fault of ioredis from ending the process: following an ASK, it sends ASKING to the other node and leaves the promise to
 * itself, so that a node that dies or hangs in the middle of a migration is a rejection that nobody catches. The command that follows
 * fails as well, and its caller is told.
 */
export function catchAsking(cluster: Cluster): void {
  if (quieted.has(cluster)) return;
  quieted.add(cluster);
  for (const node of cluster.nodes()) quiet(node);
  cluster.on('+node', quiet);
}

function quiet(node: Redis): void {
  if (quieted.has(node)) return;
  quieted.add(node);
  const asking = node.asking.bind(node);
  node.asking = () => {
    const answer = asking();
    answer.catch(() => undefined);
    return answer;
  };
}

import type { Cluster, Redis } from 'ioredis';

/** How often each Cluster has asked a node for a key that is just being moved to it. */
const askings = new WeakMap<Cluster, number>();
const quieted = new WeakSet<Redis>();

/**
 * Keeps a fault of ioredis from ending the process: following an ASK, it sends ASKING to the other node and leaves the
 * promise to itself, so that a node that dies or hangs in the middle of a migration is a rejection that nobody catches.
 * The command that follows fails as well, and its caller gets the error.
 */
export function catchAsking(node: Redis, cluster: Cluster): void {
  if (quieted.has(node)) return;
  quieted.add(node);
  const asking = node.asking.bind(node);
  node.asking = () => {
    askings.set(cluster, askingsOf(cluster) + 1);
    const answer = asking();
    answer.catch(() => undefined);
    return answer;
  };
}

/** How often calls of this Cluster have been sent on so, since {@link catchAsking}. */
export function askingsOf(cluster: Cluster): number {
  return askings.get(cluster) ?? 0;
}

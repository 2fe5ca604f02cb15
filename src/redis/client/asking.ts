import type { Cluster, Redis } from 'ioredis';

/** Counts, for each Cluster, the calls sent on to a node that a slot is moving to. */
const askings = new WeakMap<Cluster, number>();
const quieted = new WeakSet<Redis>();

/**
 * Keeps a fault of ioredis from ending the process. Following an ASK, ioredis sends ASKING to the other node and drops
 * the promise. A node that dies or hangs during a migration then causes an unhandled rejection. The command that
 * follows fails as well, and its caller gets the error.
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

/** Counts the calls of this Cluster sent on like that since {@link catchAsking}. */
export function askingsOf(cluster: Cluster): number {
  return askings.get(cluster) ?? 0;
}

import type { Cluster, Command, Redis } from 'ioredis';

/** Counts, for each Cluster, the calls that a node has answered while a slot is moving to it. */
const askings = new WeakMap<Cluster, number>();

/**
 * Keeps a fault of ioredis from ending the process; called once for a node. Following an ASK, ioredis sends ASKING to
 * the other node and drops the promise. A node that dies or hangs during a migration then causes an unhandled
 * rejection. The command that follows fails as well, and its caller gets the error.
 */
export function catchAsking(node: Redis, cluster: Cluster): void {
  const asking = node.asking.bind(node);
  node.asking = () => {
    const answer = asking();
    answer.catch(() => undefined);
    countAnswer(node, cluster);
    return answer;
  };
}

/** Counts the calls of this Cluster answered like that since {@link catchAsking}. */
export function askingsOf(cluster: Cluster): number {
  return askings.get(cluster) ?? 0;
}

/**
 * Counts the next command of this node, which ioredis sends right after ASKING, once it is answered. It is not counted
 * when it is sent: Redis 6.2 also redirects a call for two keys when it holds one of them. The other node refuses that
 * call with TRYAGAIN. A command that ioredis sends again may count several times; only a change of the count matters.
 */
function countAnswer(node: Redis, cluster: Cluster): void {
  const own = Object.getOwnPropertyDescriptor(node, 'sendCommand');
  node.sendCommand = (command: Command, ...rest) => {
    if (own === undefined) Reflect.deleteProperty(node, 'sendCommand');
    else Object.defineProperty(node, 'sendCommand', own);
    const { resolve } = command;
    command.resolve = (reply) => {
      askings.set(cluster, askingsOf(cluster) + 1);
      resolve(reply);
    };
    return node.sendCommand(command, ...rest);
  };
}

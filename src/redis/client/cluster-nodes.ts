import type { Cluster, Redis } from 'ioredis';
import { breakWhileLoading, mendConnection } from './mended-connection';

type Callback = (error: Error | null, reply?: unknown) => void;
type Ask = (...args: unknown[]) => unknown;

/** A range of slots with its nodes, as CLUSTER SLOTS gives it. */
type SlotRange = [first: number, last: number, ...nodes: SlotNode[]];
type SlotNode = [host: string | null, port: number, id?: string, metadata?: unknown];

/** A redirection whose host is unknown to the node that gives it. */
const REDIRECTION_TO_NOWHERE = /^(MOVED|ASK) (\d+) \??:(\d+)$/;

/**
 * Mends what ioredis leaves open about the nodes of a Cluster:
 *
 * - An address without a host, in CLUSTER SLOTS or a redirection, is at the host that was asked
 *   (`cluster-preferred-endpoint-type unknown-endpoint`).
 * - A failure to ask a node for the slots, and a Cluster that is down, is an event `node error` that says why. A node
 *   that is away is no reason not to ask the others.
 * - A node that still reads its data refuses commands, instead of letting them wait.
 * - A client that is closed while it asks for the slots asks for them no more. ioredis would go on each second, and
 *   keep the process.
 */
export function mendNodes(cluster: Cluster): void {
  mendReadyCheck(cluster);
  mendClosing(cluster);
  cluster.on('+node', (node: Redis) => {
    mendConnection(node);
    breakWhileLoading(node);
    completeRedirections(node);
    // ioredis asks for the slots over such a connection, and keeps its errors to itself.
    const duplicate = node.duplicate.bind(node);
    node.duplicate = (options) => {
      const connection = mendConnection(duplicate(options));
      connection.on('error', (error) => cluster.emit('node error', error, `${node.options.host}:${node.options.port}`));
      intercept(connection, (_error, reply) => {
        completeSlots(reply, node.options.host ?? '');
        return true;
      });
      return connection;
    };
  });
}

/**
 * Before a Cluster is ready, ioredis asks a node for its CLUSTER INFO. When the Cluster is down, or that node can't be
 * reached, it begins again without a word. Here the other nodes are asked as well, and the reason is reported.
 */
function mendReadyCheck(cluster: Cluster): void {
  const report = (error: unknown) => cluster.emit('node error', error, 'CLUSTER INFO');
  let triesLeft = 0;
  cluster.on('connect', () => {
    triesLeft = cluster.nodes().length;
  });
  intercept(cluster, (error, reply, askAgain) => {
    if (error !== null && cluster.status === 'connect' && triesLeft-- > 0) return askAgain();
    if (error !== null) report(error);
    if (typeof reply === 'string' && /^cluster_state:fail/m.test(reply)) {
      report(new Error('CLUSTERDOWN The cluster is down (cluster_state:fail)'));
    }
    return true;
  });
}

function mendClosing(cluster: Cluster): void {
  let isLeft = false;
  const disconnect = cluster.disconnect.bind(cluster);
  cluster.disconnect = (reconnect = false) => {
    isLeft = !reconnect;
    disconnect(reconnect);
  };
  cluster.on('connecting', () => {
    if (cluster.status === 'connecting') isLeft = false;
  });
  const refresh = cluster.refreshSlotsCache.bind(cluster);
  cluster.refreshSlotsCache = (callback) => {
    if (isLeft) return;
    refresh((error) => {
      if (!isLeft) callback?.(error);
    });
  };
}

/**
 * Lets a function see, or change, what is answered to a CLUSTER command that ioredis itself sends, which it does with a
 * callback. Unless the function has asked again, ioredis gets the answer.
 */
function intercept(
  client: Redis | Cluster,
  answered: (error: unknown, reply: unknown, askAgain: () => false) => boolean,
): void {
  const own = client as unknown as { cluster: Ask };
  const ask = own.cluster.bind(client);
  own.cluster = (...args) => {
    const callback = args.at(-1);
    if (typeof callback !== 'function') return ask(...args);
    const inform: Callback = (error, reply) => {
      if (answered(error ?? null, reply, askAgain)) (callback as Callback)(error, reply);
    };
    const askAgain = (): false => {
      ask(...args.slice(0, -1), inform);
      return false;
    };
    return ask(...args.slice(0, -1), inform);
  };
}

function completeSlots(reply: unknown, host: string): void {
  if (!Array.isArray(reply)) return;
  for (const [, , ...nodes] of reply as SlotRange[]) {
    for (const node of nodes) {
      if (node[0] === '?') node[0] = ipIn(node[3]) ?? host;
      else node[0] ||= host;
    }
  }
}

/**
 * The address of a node that has no host name, where names were asked for: among the names and values that follow its
 * id.
 */
function ipIn(metadata: unknown): string | undefined {
  if (!Array.isArray(metadata)) return undefined;
  const at = metadata.indexOf('ip');
  return at < 0 ? undefined : metadata[at + 1];
}

function completeRedirections(node: Redis): void {
  const handle = node.handleReconnection.bind(node);
  node.handleReconnection = (error, item) => {
    error.message = error.message.replace(REDIRECTION_TO_NOWHERE, `$1 $2 ${node.options.host}:$3`);
    handle(error, item);
  };
}

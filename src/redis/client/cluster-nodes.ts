import type { Cluster, Redis } from 'ioredis';
import { connectQuietly } from './credentials';
import { breakWhileLoading, mendConnection } from './mended-connection';

type Callback = (error: Error | null, reply?: unknown) => void;
type Ask = (...args: unknown[]) => unknown;

/** A range of slots with its nodes, in the form of CLUSTER SLOTS. */
type SlotRange = [first: number, last: number, ...nodes: SlotNode[]];
type SlotNode = [host: string | null, port: number, id?: string, metadata?: unknown];

/** A redirection without a host. */
const REDIRECTION_TO_NOWHERE = /^(MOVED|ASK) (\d+) \??:(\d+)$/;

/**
 * Completes what ioredis knows about the nodes of a Cluster:
 *
 * - An address without a host, in CLUSTER SLOTS or a redirection, gets the host that was asked
 *   (`cluster-preferred-endpoint-type unknown-endpoint`).
 * - A node that can't give the slots, and a Cluster that is down, emit `node error` with the reason. The other nodes
 *   are asked, too.
 * - A node that still reads its data refuses commands instead of queueing them.
 * - A closed client stops asking for the slots. ioredis would go on each second, and hold the process.
 */
export function mendNodes(cluster: Cluster): void {
  mendReadyCheck(cluster);
  mendClosing(cluster);
  cluster.on('+node', (node: Redis) => {
    mendConnection(node);
    breakWhileLoading(node);
    completeRedirections(node);
    // ioredis asks for the slots over such a connection, and drops its errors.
    const duplicate = node.duplicate.bind(node);
    node.duplicate = (options) => {
      const connection = mendConnection(duplicate({ ...options, lazyConnect: true }));
      connection.on('error', (error) => cluster.emit('node error', error, `${node.options.host}:${node.options.port}`));
      intercept(connection, (_error, reply) => {
        completeSlots(reply, node.options.host ?? '');
        return true;
      });
      // A node's own option says that the first command connects.
      if (options?.lazyConnect === false) connectQuietly(connection);
      return connection;
    };
  });
}

/**
 * Asks the other nodes as well, and reports the reason, when a Cluster can't become ready. ioredis asks one node for
 * CLUSTER INFO, and starts again silently when the Cluster is down or that node is away.
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

/** The statuses of a client without connections: one that connects again then asks for the slots anyway. */
const LEFT = ['disconnecting', 'close', 'end'];

function mendClosing(cluster: Cluster): void {
  const isLeft = () => LEFT.includes(cluster.status);
  const refresh = cluster.refreshSlotsCache.bind(cluster);
  cluster.refreshSlotsCache = (callback) => {
    if (isLeft()) return;
    refresh((error) => {
      if (!isLeft()) callback?.(error);
    });
  };
}

/**
 * Passes the answer to a CLUSTER command of ioredis's own through a function, which may change it or ask again. ioredis
 * sends these commands with a callback.
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

/** The address of a node without a host name: it is among the names and values behind the node's id. */
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

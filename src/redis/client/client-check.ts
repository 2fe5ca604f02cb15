import type { Cluster, Redis } from 'ioredis';
import { FollowingConnector } from './following-connector';

/** The code of process warnings about a client, by which users can silence them. */
const WARNING = { type: 'TokensessionWarning', code: 'TOKENSESSION_CLIENT' };

/** Milliseconds of retries after which a call goes on without the second of its keys. */
const LONGEST_TRYAGAIN_MS = 100;

const warned = new WeakSet<object>();

/**
 * Refuses an application's client whose options send calls, or their keys, to the wrong place. Warns once which
 * promises its options can't keep.
 *
 * @throws RangeError that names the option.
 */
export function checkClient(client: Redis | Cluster): void {
  refuseOptions(client);
  const found = client.isCluster ? ofCluster(client as Cluster) : ofRedis(client as Redis);
  const shortcomings = found.filter((text) => text !== false);
  if (shortcomings.length === 0 || warned.has(client)) return;
  warned.add(client);
  process.emitWarning(
    'the ioredis client given to RedisStore was not made by createRedisClient, and its options ' +
      `can't promise all that the store does: ${shortcomings.join('; ')}`,
    WARNING,
  );
}

function refuseOptions(client: Redis | Cluster): void {
  if (!client.isCluster) {
    const { role } = (client as Redis).options;
    if (role === 'slave') throw new RangeError("the client's option role must be 'master': replicas answer no calls");
    return;
  }
  const { keyPrefix = '', redisOptions = {} } = (client as Cluster).options;
  if (redisOptions.keyPrefix && redisOptions.keyPrefix !== keyPrefix) {
    throw new RangeError("the client's option redisOptions.keyPrefix must be left out, or be the same as keyPrefix");
  }
  if (keyPrefix.includes('{') && !pinsSlot(keyPrefix)) {
    throw new RangeError("the client's option keyPrefix has a brace that puts a user's keys into two slots");
  }
  if (redisOptions.stringNumbers) {
    throw new RangeError(
      "the client's option redisOptions.stringNumbers must be off: ioredis misreads the slots of a Cluster with it",
    );
  }
}

/** Whether a prefix has a hash tag, which puts all keys into one slot of a Cluster. */
export function pinsSlot(keyPrefix: string): boolean {
  return /^[^{]*\{[^}]+\}/.test(keyPrefix);
}

const SILENT = 'no socketTimeout: a connection that has gone silent is not given up';

function ofRedis({ options }: Redis): (string | false)[] {
  const isSentinel = Array.isArray(options.sentinels) && options.sentinels.length > 0;
  return [
    !options.socketTimeout && SILENT,
    options.autoResendUnfulfilledCommands !== false &&
      'autoResendUnfulfilledCommands is not false: a login whose connection broke is sent twice',
    typeof options.reconnectOnError !== 'function' &&
      'no reconnectOnError: a master that was made a replica is not left',
    typeof options.retryStrategy !== 'function' && 'no retryStrategy: the first connection that breaks is the last one',
    isSentinel &&
      options.failoverDetector !== true &&
      'no failoverDetector: a paused master that was replaced is not left until it wakes',
    isSentinel &&
      options.Connector !== FollowingConnector &&
      'not the connector of createRedisClient: a promotion that is announced while the client looks for the master may end it for good',
  ];
}

function ofCluster({ options }: Cluster): (string | false)[] {
  return [
    !options.redisOptions?.socketTimeout && SILENT,
    (options.retryDelayOnFailover ?? 0) > 0 &&
      'retryDelayOnFailover is not 0: a login whose connection broke is sent twice',
    options.enableOfflineQueue === false &&
      !options.retryDelayOnFailover &&
      'enableOfflineQueue is false and retryDelayOnFailover is 0: calls fail while a node is being connected to',
    typeof options.clusterRetryStrategy !== 'function' &&
      'no clusterRetryStrategy: when all nodes are lost once, they are lost for good',
    pinsSlot(options.keyPrefix ?? '') && 'keyPrefix has a hash tag: all users are in one slot, and so on one master',
    (options.retryDelayOnTryAgain ?? 0) * (options.maxRedirections ?? 0) > LONGEST_TRYAGAIN_MS &&
      'retryDelayOnTryAgain times maxRedirections is long: while slots are moved, their users wait for so long',
    !options.slotsRefreshInterval &&
      'no slotsRefreshInterval: a master that was replaced while it was paused is not left',
  ];
}

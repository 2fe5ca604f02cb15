import type { Cluster, Redis } from 'ioredis';
import { FollowingConnector } from './client';

/** What a process warning about a client is called, so that one can be told to be silent. */
const WARNING = { type: 'TokensessionWarning', code: 'TOKENSESSION_CLIENT' };

const warned = new WeakSet<object>();

/** Says once, as a process warning, what the settings of a client that is not ours can't promise. */
export function warnOfClient(client: Redis | Cluster): void {
  const shortcomings = client.isCluster ? ofCluster(client as Cluster) : ofRedis(client as Redis);
  if (shortcomings.length === 0 || warned.has(client)) return;
  warned.add(client);
  process.emitWarning(
    `the ioredis client given to RedisStore was not made by createRedisClient, and its options can't promise all that the store does: ${shortcomings.join('; ')}`,
    WARNING,
  );
}

function ofRedis({ options }: Redis): string[] {
  const isSentinel = Array.isArray(options.sentinels) && options.sentinels.length > 0;
  return [
    ...ofConnection(options),
    ...said(
      options.autoResendUnfulfilledCommands !== false,
      'autoResendUnfulfilledCommands is not false: a login whose connection broke is sent twice',
    ),
    ...said(
      typeof options.reconnectOnError !== 'function',
      'no reconnectOnError: a master that was made a replica is not left',
    ),
    ...said(
      isSentinel && options.failoverDetector !== true,
      'no failoverDetector: a paused master that was replaced is not left until it wakes',
    ),
    ...said(
      isSentinel && options.Connector !== FollowingConnector,
      'not the connector of createRedisClient: a promotion that is announced while the client looks for the master may end it for good',
    ),
  ];
}

function ofCluster({ options }: Cluster): string[] {
  return [
    ...ofConnection(options.redisOptions ?? {}),
    ...said(
      (options.retryDelayOnFailover ?? 0) > 0,
      'retryDelayOnFailover is not 0: a login whose connection broke is sent twice',
    ),
    ...said(
      !options.slotsRefreshInterval,
      'no slotsRefreshInterval: a master that was replaced while it was paused is not left',
    ),
  ];
}

function ofConnection({ socketTimeout }: { socketTimeout?: number | undefined }): string[] {
  return said(!socketTimeout, 'no socketTimeout: a connection that has gone silent is not given up');
}

function said(isSo: boolean, shortcoming: string): string[] {
  return isSo ? [shortcoming] : [];
}

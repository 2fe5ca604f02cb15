import { Cluster, Redis, SentinelConnector } from 'ioredis';

/** The versions of ioredis whose members are known: those of the peer dependency. */
export const SUPPORTED = '^5.9.3 || ^6.0.0';

/** The members, also undocumented ones, that this package replaces or calls. */
const MEMBERS = {
  Redis: [
    'asking',
    'auth',
    'connect',
    'defineCommand',
    'disconnect',
    'duplicate',
    'emit',
    'handleReconnection',
    'info',
    'select',
    'sendCommand',
    'sentinel',
    'silentEmit',
    'time',
  ],
  Cluster: ['cluster', 'defineCommand', 'disconnect', 'emit', 'nodes', 'refreshSlotsCache'],
  SentinelConnector: ['check', 'connect', 'connectToSentinel', 'disconnect', 'initFailoverDetector'],
};

/**
 * Refuses an installed ioredis that lacks a member which this package replaces or calls.
 *
 * @throws TypeError that names the member, the version and the supported versions.
 */
export function refuseUnknownIoredis(): void {
  refuseWithout('Redis', Redis.prototype, true);
  refuseWithout('Cluster', Cluster.prototype, true);
  refuseWithout('SentinelConnector', SentinelConnector.prototype, true);
}

/** The same for an application's client, which may come from another copy of ioredis. */
export function refuseUnknownClient(client: Redis | Cluster): void {
  const isInstalled = client instanceof Redis || client instanceof Cluster;
  refuseWithout(client.isCluster ? 'Cluster' : 'Redis', client, isInstalled);
}

function refuseWithout(kind: keyof typeof MEMBERS, owner: object, isInstalled: boolean): void {
  const members = owner as Record<string, unknown>;
  const missing = MEMBERS[kind].find((name) => typeof members[name] !== 'function');
  if (missing === undefined) return;
  const found = isInstalled ? `ioredis ${installedVersion()}` : 'the ioredis of this client';
  throw new TypeError(
    `tokensession needs ioredis ${SUPPORTED}: ${found} has no ${kind}.${missing}, which it relies on`,
  );
}

/** The version in the package of ioredis; a bundle has none. */
function installedVersion(): string {
  try {
    return (require('ioredis/package.json') as { version: string }).version;
  } catch {
    return 'of an unknown version';
  }
}

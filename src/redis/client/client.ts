import type { ConnectionOptions } from 'node:tls';
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import { integer, optional, type Readers, readOptions } from '../../errors/arguments';
import { mendNodes } from './cluster-nodes';
import { askForCredentials, connectQuietly } from './credentials';
import { withoutArguments } from './errors';
import { FollowingConnector, KEEP_ALIVE_MS } from './following-connector';
import { refuseUnknownIoredis } from './ioredis-members';
import { breakWhileLoading, mendConnection } from './mended-connection';
import { leaveRefusedDatabase } from './refused-database';
import {
  type CheckedSettings,
  type ClusterSettings,
  checkSettings,
  type RedisSettings,
  type RedisTarget,
  type SentinelSettings,
} from './settings';

/** Options of {@link createRedisClient}. */
export interface RedisClientOptions {
  /**
   * Milliseconds to wait for a connection. The client gives up a connection that is silent for twice as long with an
   * answer due. Default 1000. Range 1 to 600,000.
   */
  timeoutMs?: number | undefined;
  /**
   * Options of Node's `tls.connect`, for a `rediss://` URL: `{ ca, cert, key, servername }`. Default: Node's defaults.
   * Settings have a `tls` of their own.
   */
  tls?: ConnectionOptions | undefined;
}

/**
 * Deadlines for which a connection may be silent with an answer due. More than one, because a process that was held up
 * must read the answers that have arrived before a timer drops them.
 */
export const SILENCE_FACTOR = 2;

/** Milliseconds between attempts to reconnect, doubling from the first to the second of these. */
const RECONNECT_FIRST_MS = 50;
const RECONNECT_MAX_MS = 1000;

/** Milliseconds between two looks at the owners of slots. A silent master can't report a move. */
const SLOTS_REFRESH_MS = 1000;

/** Redirections that one call follows: enough for a move in the middle of a migration. */
const MAX_REDIRECTIONS = 5;
const TRYAGAIN_DELAY_MS = 10;

/** Milliseconds between two looks at whether Redis has read its data, on a connection that waits for that. */
const LOADING_RETRY_MS = 250;

/** Milliseconds for the other end to close a connection that we close. */
const DISCONNECT_MAX_MS = 1000;

const SENTINEL_PORT = 26_379;

/** Milliseconds until the client looks for a lost sentinel again; until then the others announce a promotion. */
const SENTINEL_RECONNECT_MS = 5000;

/** Also those of a store that opens its client. */
export const CLIENT_READERS = {
  timeoutMs: optional(integer(1, 10 * 60 * 1000), 1000),
  // Checked with the target.
  tls: (_name, value) => value as ConnectionOptions | undefined,
} satisfies Readers<RedisClientOptions>;

/**
 * Creates an ioredis client for sessions. It fails calls instead of queueing them without a connection, and sends
 * nothing twice. It gives up connections that are silent or whose server has become a replica. It follows promotions
 * and reconnects for ever. It connects at once, and emits `error` when it can't.
 *
 * @param target a URL (`redis://user:password@host:port/db`, `rediss://` for TLS), {@link RedisSettings}, {@link
 *   SentinelSettings} or {@link ClusterSettings}.
 * @throws TypeError or RangeError for an invalid target. The message never holds the URL, which may hold a password.
 * @example
 * const redis = createRedisClient('rediss://redis.internal:6379', { tls: { ca: readFileSync('ca.pem') } });
 */
export function createRedisClient(target: ClusterSettings, options?: RedisClientOptions): Cluster;
export function createRedisClient(
  target: string | RedisSettings | SentinelSettings,
  options?: RedisClientOptions,
): Redis;
export function createRedisClient(target: RedisTarget, options?: RedisClientOptions): Redis | Cluster;
export function createRedisClient(target: RedisTarget, options?: RedisClientOptions): Redis | Cluster {
  const { timeoutMs, tls } = readOptions('createRedisClient', options, CLIENT_READERS);
  const settings = checkSettings(target, tls);
  refuseUnknownIoredis();
  const client = keepingSecrets(open(settings, timeoutMs));
  if (client instanceof Cluster) mendNodes(client);
  else breakWhileLoading(client);
  madeByUs.add(client);
  return client;
}

const madeByUs = new WeakSet<Redis | Cluster>();

/** Whether a client is one of {@link createRedisClient}. */
export function isMadeByUs(client: Redis | Cluster): boolean {
  return madeByUs.has(client);
}

function open(settings: CheckedSettings, timeoutMs: number): Redis | Cluster {
  switch (settings.topology) {
    case 'single':
      return connect(singleOptions(settings, timeoutMs), settings.askCredentials);
    case 'sentinel':
      return connect(sentinelOptions(settings, timeoutMs), settings.askCredentials);
    case 'cluster':
      return connectCluster(settings, timeoutMs);
  }
}

type Options = ReturnType<typeof singleOptions> | ReturnType<typeof sentinelOptions>;

function connect(options: Options, ask: CheckedSettings['askCredentials']): Redis {
  const redis = mendConnection(new Redis({ ...options, lazyConnect: true }));
  leaveRefusedDatabase(redis);
  if (ask !== undefined) askForCredentials(redis, ask);
  redis.options.lazyConnect = false;
  connectQuietly(redis);
  return redis;
}

function connectCluster(settings: SettingsOf<'cluster'>, timeoutMs: number): Cluster {
  const cluster = new Cluster([...settings.cluster], clusterOptions(settings, timeoutMs));
  const ask = settings.askCredentials;
  // ioredis announces each node before it connects to it.
  if (ask !== undefined) cluster.on('+node', (node: Redis) => askForCredentials(node, ask));
  return cluster;
}

/** Removes passwords from errors: listeners may log them, and without a listener they go to stderr. */
function keepingSecrets<Client extends Redis | Cluster>(client: Client): Client {
  const own = client as unknown as Record<string, (event: string, ...args: unknown[]) => unknown>;
  for (const method of ['emit', 'silentEmit']) {
    // A Cluster has no silentEmit.
    const emit = own[method]?.bind(client);
    if (emit !== undefined) own[method] = (event, ...args) => emit(event, ...args.map(withoutArguments));
  }
  return client;
}

type SettingsOf<Topology> = Extract<CheckedSettings, { topology: Topology }>;

function singleOptions({ topology: _, tls, askCredentials: __, ...settings }: SettingsOf<'single'>, timeoutMs: number) {
  return {
    ...settings,
    ...boundedOptions(timeoutMs),
    ...tlsOption('tls', tls),
    retryStrategy: reconnectDelay,
  } satisfies RedisOptions;
}

function sentinelOptions(settings: SettingsOf<'sentinel'>, timeoutMs: number) {
  const { topology: _, sentinels, tls, sentinelTls, askCredentials: __, ...access } = settings;
  return {
    ...access,
    sentinels: sentinels.map((address) => ({ host: 'localhost', port: SENTINEL_PORT, ...address })),
    ...boundedOptions(timeoutMs),
    ...tlsOption('tls', tls),
    ...tlsOption('sentinelTLS', sentinelTls),
    enableTLSForSentinelMode: isOn(tls),
    retryStrategy: reconnectDelay,
    role: 'master' as const,
    Connector: FollowingConnector as ConnectorOfRedis,
    sentinelCommandTimeout: timeoutMs,
    sentinelRetryStrategy: reconnectDelay,
    sentinelReconnectStrategy: () => withJitter(SENTINEL_RECONNECT_MS),
    // Without this option, a master that was paused and replaced keeps its clients until it wakes.
    failoverDetector: true,
  } satisfies RedisOptions;
}

function clusterOptions(settings: SettingsOf<'cluster'>, timeoutMs: number) {
  const { topology: _, cluster: _nodes, natMap, tls, askCredentials: __, ...access } = settings;
  return {
    redisOptions: { ...access, ...boundedOptions(timeoutMs), ...tlsOption('tls', tls) },
    clusterRetryStrategy: reconnectDelay,
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    slotsRefreshTimeout: timeoutMs,
    // A command in flight on a broken connection may have been carried out, so it is not sent again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: TRYAGAIN_DELAY_MS,
    maxRedirections: MAX_REDIRECTIONS,
    ...(natMap !== undefined && { natMap }),
    // Each connection resolves its own name, so that one bad name doesn't block the others. The certificates of nodes
    // are for their names, not for their addresses.
    dnsLookup: (name: string, callback: DnsCallback) => callback(null, name),
  } satisfies ClusterOptions;
}

type ConnectorOfRedis = NonNullable<RedisOptions['Connector']>;
type DnsCallback = Parameters<NonNullable<ClusterOptions['dnsLookup']>>[1];

/** The options that bound every wait of a connection, in every topology. */
function boundedOptions(timeoutMs: number) {
  return {
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: timeoutMs,
    // ioredis keeps the process for this long, even when the connection has ended already.
    disconnectTimeout: Math.min(timeoutMs, DISCONNECT_MAX_MS),
    socketTimeout: SILENCE_FACTOR * timeoutMs,
    keepAlive: KEEP_ALIVE_MS,
    // With fewer first writes, the client reads Redis's refusal before the next write breaks the connection.
    disableClientInfo: true,
    maxLoadingRetryTime: LOADING_RETRY_MS,
    reconnectOnError: reconnectOnReadOnly(),
  } satisfies RedisOptions;
}

type Tls = boolean | ConnectionOptions | undefined;

function isOn(tls: Tls): boolean {
  return tls !== undefined && tls !== false;
}

function tlsOption(
  name: 'tls' | 'sentinelTLS',
  tls: Tls,
): { tls?: ConnectionOptions; sentinelTLS?: ConnectionOptions } {
  return isOn(tls) ? { [name]: tls === true ? {} : tls } : {};
}

/** The jitter spreads the reconnections of a service's processes. */
export function reconnectDelay(attempt: number): number {
  return withJitter(Math.min(RECONNECT_FIRST_MS * 2 ** (attempt - 1), RECONNECT_MAX_MS));
}

function withJitter(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

/**
 * Reconnects when a server refuses writes as a replica: its name, or the sentinels, lead to the master. At most once a
 * second, in case they lead to the same server again.
 */
function reconnectOnReadOnly(): (error: Error) => boolean {
  let last = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (!/\bREADONLY\b/.test(error.message) || performance.now() - last < RECONNECT_MAX_MS) return false;
    last = performance.now();
    return true;
  };
}

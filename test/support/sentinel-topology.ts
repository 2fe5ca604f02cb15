import { randomBytes } from 'node:crypto';
import {
  ask,
  askInfo,
  freePort,
  type RedisConfig,
  type RedisServer,
  type ServerTls,
  startAll,
  startRedis,
} from './redis-server';
import { until } from './until';

interface SentinelTopologyOptions {
  /** Default 2. */
  replicas?: number;
  /** Default 3; more than half of them have to agree on a failover. */
  sentinels?: number;
  /** How long a server may be silent before a Sentinel takes it for down. Default 2000, for busy machines. */
  downAfterMs?: number;
  /** A failed failover is retried after twice this time. Default 3000. */
  failoverTimeoutMs?: number;
  /** Password of the servers, used by replicas and Sentinels. */
  password?: string;
  /** Password of the Sentinels, used among themselves. */
  sentinelPassword?: string;
  /** The address of all servers and Sentinels. Default `127.0.0.1`. */
  host?: string;
  /** Makes all servers and Sentinels speak TLS only. */
  tls?: ServerTls;
  /** Settings of every server, not of the Sentinels. */
  settings?: RedisConfig;
}

/** A master, its replicas and the Sentinels that watch them: real processes on loopback. */
export interface SentinelTopology {
  /** The name of the master in Sentinel. */
  readonly name: string;
  /** The settings for a client. */
  readonly sentinels: { host: string; port: number }[];
  /** The first one is the initial master. */
  readonly nodes: RedisServer[];
  readonly sentinelServers: RedisServer[];
  readonly downAfterMs: number;
  /** The master by a majority of the reachable Sentinels. */
  master(): Promise<RedisServer>;
  /** The nodes that are up and follow that master. */
  replicas(): Promise<RedisServer[]>;
  /** Waits for a promotion: the Sentinels name another master, which is up and in that role. */
  untilMaster(otherThan: RedisServer): Promise<RedisServer>;
  /** Waits until every running replica has caught up with the master. */
  untilReplicated(): Promise<void>;
  /** Waits until everything is up, in its role, and known to every Sentinel. A returning master takes a while. */
  untilHealed(): Promise<void>;
  stop(): Promise<void>;
}

const HOST = '127.0.0.1';
const NAME = 'sessions';
const DOWN_AFTER_MS = 2000;
const PROMOTION_MS = 60_000;
const HEALING_MS = 60_000;
const START_TRIES = 3;

export async function startSentinelTopology(options: SentinelTopologyOptions = {}): Promise<SentinelTopology> {
  const { replicas = 2, downAfterMs = DOWN_AFTER_MS } = options;
  const servers: RedisServer[] = [];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    const nodes = await startNodes(replicas, options);
    servers.push(...nodes);
    await until('the replicas are linked', () => areLinked(nodes));
    const sentinelServers = await startSentinels(nodes, options);
    servers.push(...sentinelServers);
    await Promise.all(sentinelServers.map(hurry));
    const topology: SentinelTopology = {
      name: NAME,
      sentinels: sentinelServers.map(({ host, port }) => ({ host, port })),
      nodes,
      sentinelServers,
      downAfterMs,
      master: () => until('most Sentinels name a master', () => namedMaster(topology)),
      async replicas() {
        const master = await topology.master();
        const roles = await Promise.all(nodes.filter((node) => node.isUp).map(replicationOf));
        return roles.filter((role) => role.follows(master)).map((role) => role.node);
      },
      untilMaster: (otherThan) =>
        until(
          `another master than ${otherThan.port} is agreed on`,
          async () => {
            const master = await namedMaster(topology);
            if (master === undefined || master === otherThan || !master.isUp) return undefined;
            return (await replicationOf(master)).isMaster ? master : undefined;
          },
          PROMOTION_MS,
        ),
      async untilReplicated() {
        await until('the replicas have what the master has', async () => {
          const master = await topology.master();
          const { offset } = await replicationOf(master);
          const others = nodes.filter((node) => node !== master && node.isUp);
          const roles = await Promise.all(others.map(replicationOf));
          return roles.every((role) => role.follows(master) && role.isLinked && role.offset >= offset);
        });
      },
      async untilHealed() {
        await until(
          'every node is in its role and known to every Sentinel',
          async () => (await areLinked(nodes)) && (await areKnown(topology)),
          HEALING_MS,
        );
      },
      stop,
    };
    await topology.untilHealed();
    return topology;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Address and options of a server or Sentinel. */
function listeningOf({ host = HOST, tls }: SentinelTopologyOptions) {
  return { host, ...(tls !== undefined && { tls }) };
}

async function startNodes(replicas: number, options: SentinelTopologyOptions): Promise<RedisServer[]> {
  const { password, settings } = options;
  const config: RedisConfig = {
    'repl-diskless-sync-delay': '0',
    'repl-ping-replica-period': '1',
    // After a failover any of them may be a replica.
    ...(password === undefined ? {} : { requirepass: password, masterauth: password }),
    ...settings,
  };
  const master = await startRedis(config, listeningOf(options));
  const following = Array.from({ length: replicas }, () =>
    startRedis({ ...config, replicaof: [[master.host, String(master.port)]] }, listeningOf(options)),
  );
  return startAll([Promise.resolve(master), ...following]);
}

async function startSentinels(nodes: RedisServer[], options: SentinelTopologyOptions): Promise<RedisServer[]> {
  const { sentinels = 3 } = options;
  for (let tries = 1; ; tries++) {
    const known: KnownSentinel[] = [];
    for (let count = 0; count < sentinels; count++) {
      known.push({ id: randomBytes(20).toString('hex'), port: await freePort() });
    }
    try {
      return await startAll(
        known.map((own) =>
          startRedis(sentinelConfig(own, known, nodes, options), {
            ...listeningOf(options),
            sentinel: true,
            port: own.port,
          }),
        ),
      );
    } catch (error) {
      if (tries === START_TRIES) throw error;
    }
  }
}

/**
 * Shortens the intervals of a Sentinel, from version 7.0 on. By default it polls servers every ten seconds and other
 * Sentinels every two, and demotes a returning master after eight.
 */
async function hurry(sentinel: RedisServer): Promise<void> {
  await ask(sentinel, 'SENTINEL', 'DEBUG', 'info-period', 500, 'publish-period', 500).catch(() => undefined);
}

interface KnownSentinel {
  id: string;
  port: number;
}

function sentinelConfig(
  own: KnownSentinel,
  all: readonly KnownSentinel[],
  [master, ...replicas]: RedisServer[],
  {
    downAfterMs = DOWN_AFTER_MS,
    failoverTimeoutMs = 3000,
    password,
    sentinelPassword,
    host = HOST,
  }: SentinelTopologyOptions,
): RedisConfig {
  const others = all.filter((sentinel) => sentinel !== own);
  return {
    ...(sentinelPassword === undefined ? {} : { requirepass: sentinelPassword }),
    sentinel: [
      ['myid', own.id],
      ['announce-ip', host],
      ['monitor', NAME, host, String(master?.port), String(Math.floor(all.length / 2) + 1)],
      ['down-after-milliseconds', NAME, String(downAfterMs)],
      ['failover-timeout', NAME, String(failoverTimeoutMs)],
      ['parallel-syncs', NAME, String(Math.max(1, replicas.length))],
      ...(password === undefined ? [] : [['auth-pass', NAME, password]]),
      // Sentinels write this after they have found each other, which takes seconds.
      ...replicas.map(({ port }) => ['known-replica', NAME, host, String(port)]),
      ...others.map(({ id, port }) => ['known-sentinel', NAME, host, String(port), id]),
    ],
  };
}

async function namedMaster({ name, nodes, sentinelServers }: SentinelTopology): Promise<RedisServer | undefined> {
  const asked = sentinelServers.filter((sentinel) => sentinel.isUp);
  const named = await Promise.all(
    asked.map((sentinel) => ask<[string, string] | null>(sentinel, 'SENTINEL', 'get-master-addr-by-name', name)),
  );
  return nodes.find((node) => named.filter((address) => Number(address?.[1]) === node.port).length * 2 > asked.length);
}

interface Replication {
  readonly node: RedisServer;
  readonly isMaster: boolean;
  readonly isLinked: boolean;
  readonly linkedReplicas: number;
  readonly offset: number;
  follows(master: RedisServer): boolean;
}

async function replicationOf(node: RedisServer): Promise<Replication> {
  const info = await askInfo(node, 'INFO', 'replication');
  const isMaster = info.role === 'master';
  return {
    node,
    isMaster,
    isLinked: info.master_link_status === 'up',
    linkedReplicas: Object.values(info).filter((value) => /,state=online,/.test(value)).length,
    offset: Number(isMaster ? info.master_repl_offset : info.slave_repl_offset),
    follows: (master) => !isMaster && Number(info.master_port) === master.port,
  };
}

async function areLinked(nodes: RedisServer[]): Promise<boolean> {
  const roles = await Promise.all(nodes.map(replicationOf));
  const [master, ...others] = roles.filter((role) => role.isMaster);
  return (
    master !== undefined &&
    others.length === 0 &&
    master.linkedReplicas === nodes.length - 1 &&
    roles.every((role) => role.isMaster || (role.isLinked && role.follows(master.node)))
  );
}

/** Whether every Sentinel is connected to everything, sees nothing as down, and would agree to a failover. */
async function areKnown({ name, nodes, sentinelServers }: SentinelTopology): Promise<boolean> {
  const isWell = ({ flags }: Record<string, string>, role: string) => flags === role;
  const answers = await Promise.all(
    sentinelServers.map(async (sentinel) => {
      const [named, replicas, others] = await Promise.all([
        ask<string[]>(sentinel, 'SENTINEL', 'MASTER', name),
        ask<string[][]>(sentinel, 'SENTINEL', 'REPLICAS', name),
        ask<string[][]>(sentinel, 'SENTINEL', 'SENTINELS', name),
        // Throws unless a failover is possible now.
        ask(sentinel, 'SENTINEL', 'CKQUORUM', name),
      ]);
      const master = fieldsOf(named);
      const ofReplicas = replicas.map(fieldsOf);
      return (
        isWell(master, 'master') &&
        ofReplicas.length === nodes.length - 1 &&
        // Without a run id, it has not received a reply from that one yet.
        ofReplicas.every((replica) => isWell(replica, 'slave') && replica.runid !== '') &&
        others.length === sentinelServers.length - 1 &&
        // Sentinels of Valkey 9.1 keep another Sentinel's view of the master from before the last failover.
        others.map(fieldsOf).every(({ flags }) => /^sentinel(,master_down)?$/.test(flags ?? '')) &&
        master.port
      );
    }),
  );
  return answers.every((port) => port !== false && port === answers[0]);
}

function fieldsOf(list: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: list.length / 2 }, (_, index) => [list[2 * index], list[2 * index + 1]]),
  );
}

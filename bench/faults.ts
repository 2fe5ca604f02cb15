/*
 * What requests get while Redis fails, on real servers: the table in docs/operations.md. `npm run faults` in the root.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisStore, type RedisTarget, TokenManager } from 'tokensession';
import { type ClusterTopology, startClusterTopology } from '../test/support/cluster-topology';
import { ask, type RedisServer, startRedis } from '../test/support/redis-server';
import { type SentinelTopology, startSentinelTopology } from '../test/support/sentinel-topology';
import { startProxy } from '../test/support/tcp-proxy';
import { startTraffic, type TrafficReport } from '../test/support/traffic';
import { describeMachine } from './machine';
import { quantile } from './quantile';
import { keyOf } from './soak/keys';

const TIMEOUT_MS = 500;
const DOWN_AFTER_MS = 1000;
const USERS = 20;
const ROUNDS = 3;
/** How long a temporary fault lasts. */
const FAULT_MS = 2000;

/** A fault with its start and end. Recovery is measured from the end, or from the start of a fault without an end. */
interface Fault {
  begin(sessions: TokenManager<never>, tokens: ReadonlyMap<string, string>): unknown;
  end?(): unknown;
}

interface Ground {
  target: RedisTarget;
  fault: Fault;
  /** The tokens of the affected users. Default: all. */
  struck?(tokens: ReadonlyMap<string, string>): Promise<Map<string, string>>;
  stop(): Promise<unknown>;
}

interface Result {
  report: TrafficReport;
  backMs: number;
  /** Sessions that ended just before the fault, and are live again after it. */
  revived: number;
}

async function single(
  fault: (server: RedisServer, proxy: Awaited<ReturnType<typeof startProxy>>) => Fault,
): Promise<Ground> {
  const server = await startRedis({ appendonly: 'yes', appendfsync: 'always' });
  const proxy = await startProxy(server.port);
  return {
    target: { host: '127.0.0.1', port: proxy.port },
    fault: fault(server, proxy),
    async stop() {
      await proxy.stop();
      await server.stop();
    },
  };
}

/** The master fails before a replica has received the last logouts. */
async function cutOff(
  replicas: readonly RedisServer[],
  master: RedisServer,
  end: () => Promise<unknown>,
): Promise<void> {
  for (const replica of replicas) replica.pause();
  await ask(master, 'CLIENT', 'KILL', 'TYPE', 'replica');
  await end();
}

type Strike = (master: RedisServer) => unknown;

async function sentinel(strike: Strike): Promise<Ground> {
  const topology: SentinelTopology = await startSentinelTopology({ downAfterMs: DOWN_AFTER_MS });
  return {
    target: { sentinels: topology.sentinels, name: topology.name },
    fault: {
      async begin(sessions, tokens) {
        await topology.untilReplicated();
        const master = await topology.master();
        const replicas = await topology.replicas();
        await cutOff(replicas, master, () => endLast(sessions, tokens));
        await strike(master);
        for (const replica of replicas) replica.resume();
      },
    },
    stop: () => topology.stop(),
  };
}

async function cluster(strike: Strike): Promise<Ground> {
  const topology: ClusterTopology = await startClusterTopology({ nodeTimeoutMs: DOWN_AFTER_MS });
  const master = topology.nodes[0] as RedisServer;
  const struck = async (tokens: ReadonlyMap<string, string>) => {
    const owners = await Promise.all([...tokens.values()].map((token) => topology.ownerOf(keyOf(token))));
    return new Map([...tokens].filter((_, i) => owners[i] === master));
  };
  return {
    target: { cluster: topology.startupNodes },
    struck,
    fault: {
      async begin(sessions, tokens) {
        await topology.untilReplicated();
        const replica = await topology.replicaOf(master);
        await cutOff([replica], master, () => endLast(sessions, tokens));
        await strike(master);
        replica.resume();
      },
    },
    stop: () => topology.stop(),
  };
}

/** A slot moves key by key, under requests for all of it. */
async function migration(): Promise<Ground> {
  const topology = await startClusterTopology({ nodeTimeoutMs: DOWN_AFTER_MS });
  let end: () => Promise<void>;
  return {
    target: { cluster: topology.startupNodes },
    fault: {
      async begin(_sessions, tokens) {
        const key = keyOf([...tokens.values()][0] as string);
        const slot = await topology.slotOf(key);
        const from = await topology.ownerOf(key);
        const to = (await topology.masters()).find((node) => node !== from) as RedisServer;
        await topology.beginMigration(slot, from, to);
        await topology.migrateKeys(slot, from, to);
        end = () => topology.endMigration(slot, from, to);
      },
      end: () => end(),
    },
    stop: () => topology.stop(),
  };
}

/** The users whose sessions end just before the fault. */
const LAST = 3;

async function endLast(sessions: TokenManager<never>, tokens: ReadonlyMap<string, string>): Promise<void> {
  for (const token of [...tokens.values()].slice(-LAST)) await sessions.deleteToken(token);
}

async function measure(start: () => Promise<Ground>): Promise<Result> {
  const { target, fault, struck, stop } = await start();
  const sessions = new TokenManager<never>({
    store: new RedisStore(target, { timeoutMs: TIMEOUT_MS }),
    secret: 'a secret for measuring, long enough to sign with',
  });
  try {
    const all = new Map<string, string>();
    for (let i = 0; i < USERS * (struck === undefined ? 1 : 4); i++)
      all.set(`user-${i}`, await sessions.setToken(`user-${i}`));
    const tokens = (await struck?.(all)) ?? all;
    const last = [...tokens].slice(-LAST);
    const requested = new Map([...tokens].slice(0, -LAST));
    const traffic = startTraffic(sessions, requested);
    await traffic.untilServed();

    await fault.begin(sessions, tokens);
    let from = performance.now();
    if (fault.end !== undefined) {
      await sleep(FAULT_MS);
      await fault.end();
      from = performance.now();
    } else {
      await traffic.untilFailed();
    }
    await traffic.untilServed(30_000);
    const backMs = performance.now() - from;
    const report = await traffic.stop();
    await sleep(500);
    const ended = fault.end === undefined ? last : [];
    const live = await Promise.all(ended.map(([, token]) => sessions.checkToken(token)));
    return { report, backMs, revived: live.filter((session) => session !== null).length };
  } finally {
    await sessions.close();
    await stop();
  }
}

const FAULTS: [string, () => Promise<Ground>][] = [
  [
    'one Redis: killed, started again',
    () => single((server) => ({ begin: () => server.kill(), end: () => server.restart() })),
  ],
  ['one Redis: paused', () => single((server) => ({ begin: () => server.pause(), end: () => server.resume() }))],
  [
    'one Redis: the network swallows all',
    () => single((_, proxy) => ({ begin: () => proxy.hold(), end: () => proxy.pass() })),
  ],
  [
    'one Redis: the network refuses',
    () => single((_, proxy) => ({ begin: () => proxy.refuse(), end: () => proxy.pass() })),
  ],
  [
    'one Redis: answers later than the deadline',
    () => single((_, proxy) => ({ begin: () => proxy.delay(TIMEOUT_MS), end: () => proxy.pass() })),
  ],
  [
    'one Redis: made a replica of a missing master',
    () =>
      single((server) => ({
        begin: () => ask(server, 'REPLICAOF', '127.0.0.1', '1'),
        end: () => ask(server, 'REPLICAOF', 'NO', 'ONE'),
      })),
  ],
  [
    'one Redis: out of memory',
    () =>
      single((server) => ({
        begin: () => ask(server, 'CONFIG', 'SET', 'maxmemory', '1'),
        end: () => ask(server, 'CONFIG', 'SET', 'maxmemory', '0'),
      })),
  ],
  ['Sentinel: master killed', () => sentinel((master) => master.kill())],
  ['Sentinel: master paused', () => sentinel((master) => master.pause())],
  ['Cluster: a master killed, its users', () => cluster((master) => master.kill())],
  ['Cluster: a master paused, its users', () => cluster((master) => master.pause())],
  ['Cluster: a slot half moved to another node', migration],
];

const median = (values: readonly number[]) => quantile(values, 0.5);
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

async function main(): Promise<void> {
  const only = process.argv[2];
  const { cpu, cores, node, redis } = describeMachine({ measured: null, redis: null, load: null });
  process.stdout.write(`${cpu}, ${cores} cores, Node ${node}, Redis ${redis}\n`);
  process.stdout.write(
    `timeoutMs ${TIMEOUT_MS}, down-after and node-timeout ${DOWN_AFTER_MS} ms, ${USERS} users, a request of each every 20 ms, ${ROUNDS} rounds each\n\n`,
  );
  const heads = [
    'fault',
    'requests',
    'longest wait',
    'a failed call, median',
    'served again after',
    'signed out, mixed up, revived',
  ];
  process.stdout.write(`| ${heads.join(' | ')} |\n|${heads.map(() => '---|').join('')}\n`);
  for (const [name, start] of FAULTS) {
    if (only !== undefined && !name.includes(only)) continue;
    const results: Result[] = [];
    for (let round = 0; round < ROUNDS; round++) results.push(await measure(start));
    const reports = results.map(({ report }) => report);
    const codes = [...new Set(reports.flatMap(({ failed }) => Object.keys(failed)))].sort();
    const failedMs = reports.flatMap((report) => report.failedMs);
    const sum = (of: (result: Result) => number) => results.reduce((total, result) => total + of(result), 0);
    const back = results.map(({ backMs }) => backMs);
    const cells = [
      name,
      codes.length === 0 ? 'served' : `503 ${codes.map((code) => `\`${code}\``).join(', ')}`,
      `${Math.round(Math.max(...reports.map(({ worstMs }) => worstMs)))} ms`,
      failedMs.length === 0 ? '' : `${median(failedMs).toFixed(2)} ms`,
      codes.length === 0 ? '' : `${seconds(median(back))}, at most ${seconds(Math.max(...back))}`,
      [sum(({ report }) => report.signedOut), sum(({ report }) => report.mixedUp), sum(({ revived }) => revived)].join(
        ', ',
      ),
    ];
    process.stdout.write(`| ${cells.join(' | ')} |\n`);
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

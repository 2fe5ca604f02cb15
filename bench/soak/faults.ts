import { setTimeout as sleep } from 'node:timers/promises';
import { ask, askInfo, type RedisServer } from '../../test/support/redis-server';
import { monotonicMs } from '../monotonic';
import { isIn, keyOf, slotOf } from './keys';
import type { SlotRange, Topology } from './topologies';

/**
 * `kill`: SIGKILL, then an empty restart after the promotion. `pause`: SIGSTOP until after the promotion. In both,
 * replicas may lag, and the master's last acknowledged writes are lost. `stall`: SIGSTOP, too short for a promotion.
 * `handover`: a replica is promoted by command. `deafen`: the master works, but its subscribers are cut off repeatedly.
 * `block`: the event loop of a worker is blocked. `password`: the servers get a new password, and cut connections with
 * the old one. `unplanned`: a promotion without a command, such as a second one right after the first.
 */
export type FaultKind = PlannedKind | 'unplanned';

/** A fault of a master. Moments are those of {@link monotonicMs}. */
export interface Fault {
  kind: FaultKind;
  /** The failed master; for an unplanned promotion, the promoted server. */
  port: number;
  /** The users with sessions on it; `null` for all users. */
  slots: readonly SlotRange[] | null;
  at: number;
  promotedAt: number | null;
  /** When it was resumed or restarted; the start of the fault if it never stopped. */
  backAt: number;
  /** When the worker with `durability`, stopped during the fault, was resumed; `null` if it was not stopped. */
  letGoAt: number | null;
  healedAt: number;
}

const KINDS = [
  'kill, replicas behind',
  'pause, replicas behind',
  'kill',
  'pause',
  'stall',
  'deafen',
  'block',
  'handover',
  'password',
] as const;
type PlannedKind = (typeof KINDS)[number];

const CALM_MS = 1500;
/** Shorter than the time after which servers count as down, longer than any call waits. */
const STALL_MS = 700;
/** How long subscriptions are cut, and the longest gap between two cuts: some reconnect in it, some do not. */
const DEAFEN_MS = 2000;
const DEAFEN_MAX_EVERY_MS = 120;
/** Longer than a call or a connection may be silent. */
const BLOCK_MS = 2000;
/** How long a killed master stays down after the promotion. */
const AWAY_MS = 500;
/** How much longer than its master a worker is stopped: the others are served again by then. */
const HELD_MS = 1500;
/**
 * The lag of the replicas. Without it there is none: on one machine even the last writes of a killed server arrive.
 */
const BEHIND_MS = 500;
/** No fault begins with less time left: it would outlast the load. */
const MIN_LEFT_MS = 4000;

interface FaultMeans {
  topology: Topology;
  /** A random token in use. */
  anyToken: () => string;
  /** Stops the process with `durability`, so that it cannot repeat revocations; returns a function to resume it. */
  holdWorker: () => () => void;
  blockWorker: (ms: number) => Promise<void>;
  announcePassword: (password: string) => void;
}

/** Causes each fault in turn until the time is up, each after the topology has healed. */
export async function makeFaults(
  options: FaultMeans & { until: number; onFault: (fault: Fault, number: number) => void },
): Promise<Fault[]> {
  const { anyToken, until, onFault } = options;
  const faults: Fault[] = [];
  while (monotonicMs() < until - MIN_LEFT_MS) {
    const kind = KINDS[faults.length % KINDS.length] as PlannedKind;
    const fault = await makeFault(kind, otherToken(anyToken, faults.at(-1)), options);
    faults.push(fault);
    onFault(fault, faults.length);
    await sleep(CALM_MS);
  }
  await sleep(Math.max(0, until - monotonicMs()));
  return faults;
}

/** A token whose user is on another server than that of the last fault, if there is one. */
function otherToken(anyToken: () => string, last: Fault | undefined): string {
  let token = anyToken();
  for (let tries = 0; last !== undefined && tries < 50 && isIn(last.slots, slotOf(token)); tries++) token = anyToken();
  return token;
}

/** Whether the servers keep their roles and all acknowledged writes. */
export function losesNothing({ kind }: Fault): boolean {
  return kind === 'stall' || isHarmless(kind);
}

/** Whether the servers still serve. */
export function isHarmless(kind: FaultKind): boolean {
  return kind === 'deafen' || kind === 'block' || kind === 'password';
}

async function makeFault(
  kind: PlannedKind,
  token: string,
  { topology, holdWorker, blockWorker, announcePassword }: FaultMeans,
): Promise<Fault> {
  const key = keyOf(token);
  const master = await topology.masterOf(key);
  const isEverywhere = kind === 'block' || kind === 'password';
  const slots = isEverywhere ? null : await topology.slotsOf(master);
  const isKill = kind.startsWith('kill');
  const isBehind = kind.endsWith('behind');
  const isUp = kind === 'handover' || isHarmless(kind);
  const catchUp = isBehind ? await holdBack(topology, master) : null;
  const letGo = isBehind ? holdWorker() : null;
  const at = monotonicMs();
  let promotedAt: number | null = null;
  if (kind === 'handover') await topology.handOver(master);
  else if (isKill) await master.kill();
  else if (!isUp) master.pause();
  try {
    await catchUp?.();
    if (kind === 'stall') await sleep(STALL_MS);
    else if (kind === 'deafen') await deafen(master);
    else if (kind === 'block') await blockWorker(BLOCK_MS);
    else if (kind === 'password') await topology.changePassword(announcePassword);
    else {
      await topology.untilPromoted(key, master);
      promotedAt = monotonicMs();
    }
    if (isKill) {
      await sleep(AWAY_MS);
      await master.restart();
    }
  } finally {
    if (!isKill && !isUp) master.resume();
  }
  const backAt = isUp ? at : monotonicMs();
  let letGoAt: number | null = null;
  if (letGo !== null) {
    await sleep(HELD_MS);
    letGo();
    letGoAt = monotonicMs();
  }
  await topology.untilHealed();
  return { kind, port: master.port, slots, at, promotedAt, backAt, letGoAt, healedAt: monotonicMs() };
}

/** Cuts the subscriptions to a master, except those of sentinels, which would replace it. */
async function deafen(master: RedisServer): Promise<void> {
  for (const until = monotonicMs() + DEAFEN_MS; monotonicMs() < until; ) {
    const clients = await ask<string>(master, 'CLIENT', 'LIST', 'TYPE', 'pubsub');
    for (const [, id = ''] of clients.matchAll(/^id=(\d+) .* name=(?!sentinel)/gm)) {
      await ask(master, 'CLIENT', 'KILL', 'ID', id);
    }
    await sleep(Math.random() * DEAFEN_MAX_EVERY_MS);
  }
}

/**
 * Breaks the replication, and keeps it broken by a wrong password. Returns a function that repairs it; call that once
 * the master is down, so that the replicas cannot catch up.
 */
async function holdBack(topology: Topology, master: RedisServer): Promise<() => Promise<void>> {
  const following = await Promise.all(
    topology.nodes.map(async (node) => {
      const { role, master_port } = await askInfo(node, 'INFO', 'replication');
      return role === 'slave' && Number(master_port) === master.port ? [node] : [];
    }),
  );
  const replicas = following.flat();
  const setPassword = (password: string) =>
    Promise.all(replicas.map((replica) => ask(replica, 'CONFIG', 'SET', 'masterauth', password)));
  await setPassword('none');
  await Promise.all(replicas.map((replica) => ask(replica, 'CLIENT', 'KILL', 'TYPE', 'master')));
  await sleep(BEHIND_MS);
  return () => setPassword(topology.password.now).then(() => undefined);
}

import { setTimeout as sleep } from 'node:timers/promises';
import { ask, askInfo, type RedisServer } from '../../test/support/redis-server';
import { machineNow } from './clock';
import { isIn, keyOf, slotOf } from './keys';
import type { SlotRange, Topology } from './topologies';

/**
 * `kill`: SIGKILL, and a new start, empty, after the promotion. `pause`: SIGSTOP until after the promotion. Either may
 * find the replicas behind: what the master has acknowledged in its last moments is then lost. `stall`: SIGSTOP for
 * less than it takes to be replaced. `handover`: a replica is told to take over. `deafen`: the master goes on, but
 * whoever listens to what it announces is cut off, again and again. `block`: the event loop of a worker is blocked.
 * `password`: the servers get a new one, and cut off who came in by the old one. `unplanned`: a promotion that the soak
 * didn't ask for, such as a second one right after the first.
 */
export type FaultKind = PlannedKind | 'unplanned';

/** What was done to a master. Moments are of {@link machineNow}. */
export interface Fault {
  kind: FaultKind;
  /** Of the master; of one that was promoted unplanned, its own. */
  port: number;
  /** Whose sessions were on it; `null` for everybody's. */
  slots: readonly SlotRange[] | null;
  at: number;
  promotedAt: number | null;
  /** When it was resumed or started again; at once where it never was away. */
  backAt: number;
  /**
   * When the worker whose revocations replicas confirm, and which was held meanwhile, was let go; `null` where it
   * wasn't held.
   */
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
/** Less than the servers need to take each other for down, more than any call waits. */
const STALL_MS = 700;
/** How long subscriptions are cut off, and the longest that one is left alone: some are back by then, some are not. */
const DEAFEN_MS = 2000;
const DEAFEN_MAX_EVERY_MS = 120;
/** More than a call or a connection may be silent. */
const BLOCK_MS = 2000;
/** How long a killed master is away after the promotion. */
const AWAY_MS = 500;
/** How much longer than its master a worker is held: the others are served again by then. */
const HELD_MS = 1500;
/**
 * By how much the replicas are behind. Without this they never are: on one machine even a killed server's last words
 * arrive.
 */
const BEHIND_MS = 500;
/** A fault is not begun with less of the time left: it would be over after the load. */
const MIN_LEFT_MS = 4000;

interface FaultMeans {
  topology: Topology;
  /** A token that is in use, at random. */
  anyToken: () => string;
  /** Stops the process whose revocations replicas confirm, so that it can't repeat them; gives what lets it go on. */
  holdWorker: () => () => void;
  blockWorker: (ms: number) => Promise<void>;
  announcePassword: (password: string) => void;
}

/** Makes each fault in turn, until the time is up; each when the topology has healed of the last. */
export async function makeFaults(
  options: FaultMeans & { until: number; onFault: (fault: Fault, number: number) => void },
): Promise<Fault[]> {
  const { anyToken, until, onFault } = options;
  const faults: Fault[] = [];
  while (machineNow() < until - MIN_LEFT_MS) {
    const kind = KINDS[faults.length % KINDS.length] as PlannedKind;
    const fault = await makeFault(kind, otherToken(anyToken, faults.at(-1)), options);
    faults.push(fault);
    onFault(fault, faults.length);
    await sleep(CALM_MS);
  }
  await sleep(Math.max(0, until - machineNow()));
  return faults;
}

/** One whose user is not on the server of the last fault, where there are others. */
function otherToken(anyToken: () => string, last: Fault | undefined): string {
  let token = anyToken();
  for (let tries = 0; last !== undefined && tries < 50 && isIn(last.slots, slotOf(token)); tries++) token = anyToken();
  return token;
}

/** Whether it leaves the servers in their roles, and all that they have acknowledged. */
export function losesNothing({ kind }: Fault): boolean {
  return kind === 'stall' || isHarmless(kind);
}

/** Whether the servers go on to serve. */
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
  const at = machineNow();
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
      promotedAt = machineNow();
    }
    if (isKill) {
      await sleep(AWAY_MS);
      await master.restart();
    }
  } finally {
    if (!isKill && !isUp) master.resume();
  }
  const backAt = isUp ? at : machineNow();
  let letGoAt: number | null = null;
  if (letGo !== null) {
    await sleep(HELD_MS);
    letGo();
    letGoAt = machineNow();
  }
  await topology.untilHealed();
  return { kind, port: master.port, slots, at, promotedAt, backAt, letGoAt, healedAt: machineNow() };
}

/** Cuts off who listens to a master, but for the sentinels: they would replace it. */
async function deafen(master: RedisServer): Promise<void> {
  for (const until = machineNow() + DEAFEN_MS; machineNow() < until; ) {
    const clients = await ask<string>(master, 'CLIENT', 'LIST', 'TYPE', 'pubsub');
    for (const [, id = ''] of clients.matchAll(/^id=(\d+) .* name=(?!sentinel)/gm)) {
      await ask(master, 'CLIENT', 'KILL', 'ID', id);
    }
    await sleep(Math.random() * DEAFEN_MAX_EVERY_MS);
  }
}

/**
 * Breaks the replicas' links, and keeps them from coming back by a password that the master doesn't want. Gives what
 * lets them. It must be called when the master is down, lest they catch up.
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

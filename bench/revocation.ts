import { setTimeout as sleep } from 'node:timers/promises';
import type { TokenManager, TokenManagerOptions } from 'tokensession';
import { type RedisServer, scriptCalls, startRedis } from '../test/support/redis-server';
import { startProxy, type TcpProxy } from '../test/support/tcp-proxy';
import { Child } from './child';
import { managerOn } from './contestants';
import { type CpuPlan, pin } from './machine';
import { monotonicMs } from './monotonic';
import { quantile } from './quantile';
import { judgeValue, type Part, type Series } from './report';
import type { Question, Refusal } from './revocation-observer';
import type { Effort, Sample } from './rounds';

const OBSERVERS = 8;
const RUNS = 1000;
const QUICK_RUNS = 100;
/** The rounds that take a second each. */
const CUT_OFF_RUNS = 30;
const QUICK_CUT_OFF_RUNS = 10;
const MAX_AGE_MS = 1000;
const HEARTBEAT_MS = 300;
/** No announcement arrives in time. */
const LONG_HEARTBEAT_MS = 60_000;
/** Attempts to fill all caches with the session, before a run is given up. */
const MAX_TRIES = 200;
const RETRY_MS = 20;

interface Scenario {
  cache: NonNullable<TokenManagerOptions<unknown>['cache']>;
  /** Whether the observers' subscriptions are cut before the kick. */
  isCutOff: boolean;
}

const CACHED = 'cached';
const NOT_CACHED = 'not cached';
const CUT_OFF = 'cached, cut off';
const CUT_OFF_UNNOTICED = 'cached, cut off between two heartbeats';

const SCENARIOS: Record<string, Scenario> = {
  [CACHED]: { cache: true, isCutOff: false },
  [NOT_CACHED]: { cache: false, isCutOff: false },
  [CUT_OFF]: { cache: { maxAgeMs: MAX_AGE_MS, heartbeatMs: HEARTBEAT_MS }, isCutOff: true },
  [CUT_OFF_UNNOTICED]: { cache: { maxAgeMs: MAX_AGE_MS, heartbeatMs: LONG_HEARTBEAT_MS }, isCutOff: true },
};

/** How long after a kick the last of several processes refuses the token, with the session in all their caches. */
export async function benchRevocation({ isQuick }: Effort, cpus: CpuPlan): Promise<Part> {
  const kicks = new Map<string, Kick[]>();
  let uncounted = 0;
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    const [runs, quickRuns] = scenario.isCutOff ? [CUT_OFF_RUNS, QUICK_CUT_OFF_RUNS] : [RUNS, QUICK_RUNS];
    const outcome = await benchScenario(scenario, isQuick ? quickRuns : runs, cpus);
    kicks.set(name, outcome.kicks);
    uncounted += outcome.uncounted;
  }
  const samples = Object.fromEntries([...kicks].map(([name, some]) => [name, [summaryOf(some)]]));
  return {
    title: `Revocation: from the return of deleteUserToken to the last refusal of ${OBSERVERS} other processes`,
    metrics: [
      { name: 'p50', label: 'p50, ms', digits: 2 },
      { name: 'p99', label: 'p99, ms', digits: 2 },
      { name: 'max', label: 'max, ms', digits: 2 },
      { name: 'accepted', label: 'last accepted, max, ms', digits: 2 },
      { name: 'kicks', label: 'kicks', digits: 0 },
    ],
    samples,
    series: [distributionOf(kicks)],
    targets: [
      judgeValue(samples, { metric: 'p99', of: CACHED, atMost: 20 }),
      judgeValue(samples, { metric: 'accepted', of: CUT_OFF, atMost: MAX_AGE_MS }),
      judgeValue(samples, { metric: 'accepted', of: CUT_OFF_UNNOTICED, atMost: MAX_AGE_MS }),
    ],
    notes: [
      'Times of all processes are of process.hrtime.bigint(), on Linux CLOCK_MONOTONIC, one clock for the whole machine. A negative one means that all had refused before the kick returned.',
      `A process looks at the token each millisecond, and with a cache also after whatever Redis has sent it, so that ${OBSERVERS} processes don't wait for each other's CPU. The time is that of the answer which refuses it; a check that still accepted it had begun by "last accepted".`,
      `A kick counts only if every process had just answered from memory: INFO commandstats saw no EVALSHA for its last check, and until all had refused none but the kick and one of each process. ${uncounted} did not count.`,
      'Not cached, each check asks Redis: what is measured is how often the processes look.',
      `Cut off: before the kick a proxy begins to swallow all that Redis sends to the subscriptions, while commands go through. maxAgeMs is ${MAX_AGE_MS}; heartbeatMs is ${HEARTBEAT_MS}, and ${LONG_HEARTBEAT_MS} where none detects the loss in time.`,
    ],
  };
}

async function benchScenario(
  scenario: Scenario,
  runs: number,
  cpus: CpuPlan,
): Promise<{ kicks: Kick[]; uncounted: number }> {
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  const proxy = await startProxy(redis.port);
  const kicker = managerOn(redis.url);
  const observers: Child[] = [];
  try {
    const url = scenario.isCutOff ? `redis://127.0.0.1:${proxy.port}` : redis.url;
    for (let index = 0; index < OBSERVERS; index++) {
      const cpu = index % 2 === 0 ? cpus.measured : cpus.load;
      observers.push(await Child.start('revocation-observer.ts', [url, JSON.stringify(scenario.cache)], cpu));
    }
    const kicks: Kick[] = [];
    let uncounted = 0;
    for (let run = 0; kicks.length < runs; run++) {
      const done = await kick(`user-${run}`, scenario, { redis, proxy, kicker, observers });
      if (done !== null) kicks.push(done);
      else if (++uncounted > runs) throw new Error('the caches did not answer in more than half of the runs');
    }
    return { kicks, uncounted };
  } finally {
    await Promise.all(observers.map((observer) => observer.stop()));
    await kicker.close();
    await proxy.stop();
    await redis.stop();
  }
}

interface Scene {
  redis: RedisServer;
  proxy: TcpProxy;
  kicker: TokenManager;
  observers: readonly Child[];
}

/** Milliseconds after `deleteUserToken` returned. */
interface Kick {
  /** When the last observer had refused the token. */
  refused: number;
  /** When the last accepting check began. */
  accepted: number;
}

/** Returns `null` if some observers had not answered from memory by then. */
async function kick(userId: string, { cache, isCutOff }: Scenario, scene: Scene): Promise<Kick | null> {
  const { redis, proxy, kicker, observers } = scene;
  const token = await kicker.setToken(userId);
  const askAll = <Answer>(task: Question['task']) =>
    Promise.all(observers.map((observer) => observer.ask<Answer>({ task, token } satisfies Question)));
  if (cache !== false) await untilCached(redis, () => askAll<boolean>('check'));

  const scriptsBefore = await scriptCalls(redis);
  if (isCutOff) proxy.swallowOf(/subscribe/i);
  const watching = askAll<Refusal>('watch');
  // Time to begin, and to be at any point between two checks when the kick comes.
  await sleep(5 + 2 * Math.random());
  const ended = await kicker.deleteUserToken(userId);
  const kickedAt = monotonicMs();
  const refusals = await watching;
  if (isCutOff) proxy.pass();

  if (ended !== 1) throw new Error(`the kick ended ${ended} sessions`);
  const scripts = (await scriptCalls(redis)) - scriptsBefore;
  if (cache !== false && scripts > 1 + observers.length) return null;
  const accepted = refusals.flatMap(({ lastAcceptedAt }) => lastAcceptedAt ?? []);
  if (accepted.length < observers.length) return null;
  return {
    refused: Math.max(...refusals.map(({ at }) => at)) - kickedAt,
    accepted: Math.max(...accepted) - kickedAt,
  };
}

/** Resolves when all observers have found the session live without a call to Redis. */
async function untilCached(redis: RedisServer, checkAll: () => Promise<boolean[]>): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    await checkAll();
    const before = await scriptCalls(redis);
    const answers = await checkAll();
    if (answers.includes(false)) throw new Error('a live session was refused');
    if ((await scriptCalls(redis)) === before) return;
    await sleep(RETRY_MS);
  }
  throw new Error('the caches do not answer');
}

function summaryOf(kicks: readonly Kick[]): Sample {
  const times = kicks.map(({ refused }) => refused);
  return {
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    max: Math.max(...times),
    accepted: Math.max(...kicks.map(({ accepted }) => accepted)),
    kicks: kicks.length,
  };
}

/** The times for which the share of kicks is reported that have reached all observers. */
const PLACES_MS = [
  0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100,
];

function distributionOf(kicks: ReadonlyMap<string, Kick[]>): Series {
  return {
    title: 'Kicks after which no process accepts the token',
    x: { label: 'ms', log: true },
    y: { label: '%', log: false },
    lines: [...kicks].map(([name, some]) => ({
      name,
      points: PLACES_MS.map((x) => ({ x, y: (100 * some.filter(({ refused }) => refused <= x).length) / some.length })),
    })),
  };
}

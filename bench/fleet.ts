import { setTimeout as sleep } from 'node:timers/promises';
import type { TokenManager } from 'tokensession';
import { type RedisServer, startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { managerOn, PATIENT_MS, signIn } from './contestants';
import { type FleetPlan, kicksIn, kickTime } from './fleet-plan';
import type { Question, Run } from './fleet-service';
import { type CpuPlan, pin } from './machine';
import { monotonicMs } from './monotonic';
import { quantile } from './quantile';
import { redisCpuMs } from './redis-info';
import { judgeValue, type Part, valuesOf } from './report';
import { type Effort, interleave, type Sample, type Samples, spreadOf } from './rounds';

const PROCESSES = 8;
const REQUESTS_PER_SECOND = 5000;
const LIVE = 1000;
/** Kicks a second. */
const RATES = [10, 50, 100, 200];
const THE_RATE = 50;
/** Kicks a second that are looked at closely, of each rate. */
const WATCHED_PER_SECOND = 10;
const RUN_MS = 15_000;
const QUICK_RUN_MS = 3000;
/** Rounds of long runs. */
const MOST_ROUNDS = 3;
const LOGINS_AT_A_TIME = 100;
/** Time to get the question, and to fill the caches. */
const START_IN_MS = 3000;

const rowOf = (rate: number) => `${rate} kicks a second`;

/** Several processes with near caches, many requests, and sessions that end all the time. */
export async function benchFleet({ isQuick, rounds }: Effort, cpus: CpuPlan): Promise<Part> {
  const durationMs = isQuick ? QUICK_RUN_MS : RUN_MS;
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  const manager = managerOn(redis.url, {}, PATIENT_MS);
  const services: Child[] = [];
  try {
    for (let index = 0; index < PROCESSES; index++) {
      const cpu = index % 2 === 0 ? cpus.measured : cpus.load;
      services.push(await Child.start('fleet-service.ts', [redis.url], cpu));
    }
    const rates = new Map(RATES.map((rate) => [rowOf(rate), rate]));
    let runs = 0;
    const samples = await interleave([...rates.keys()], { rounds: Math.min(rounds, MOST_ROUNDS), warmUps: 0 }, (row) =>
      measure({ redis, manager, services }, `run-${runs++}`, { kicksPerSecond: rates.get(row) as number, durationMs }),
    );
    return {
      title: `Near caches in ${PROCESSES} processes: ${REQUESTS_PER_SECOND.toLocaleString('en')} requests a second`,
      metrics: [
        { name: 'hits', label: '% from memory', digits: 1 },
        { name: 'redisBusy', label: "% of Redis's core", digits: 1 },
        { name: 'staleP50', label: 'accepted after the kick, p50, ms', digits: 2 },
        { name: 'staleP99', label: 'p99, ms', digits: 2 },
        { name: 'staleMax', label: 'max, ms', digits: 2 },
        { name: 'p99', label: 'wait, p99, ms', digits: 2 },
        { name: 'errors', label: 'errors', digits: 0 },
        { name: 'perSecond', label: 'requests/s', digits: 0 },
        { name: 'kicksPerSecond', label: 'kicks/s', digits: 0 },
      ],
      samples,
      series: [
        {
          title: `Near caches in ${PROCESSES} processes while sessions end`,
          x: { label: 'kicks a second', log: false },
          y: { label: 'answers from memory and CPU of Redis in %, accepted after a kick in ms', log: false },
          lines: [
            lineOf(samples, 'from memory, %', 'hits'),
            lineOf(samples, 'Redis CPU, %', 'redisBusy'),
            lineOf(samples, 'accepted after a kick, ms, p50', 'staleP50'),
            lineOf(samples, 'accepted after a kick, ms, p99', 'staleP99'),
          ],
        },
      ],
      targets: [
        judgeValue(samples, { metric: 'staleP99', of: rowOf(THE_RATE), atMost: 20 }),
        judgeValue(samples, { metric: 'errors', of: rowOf(THE_RATE), atMost: 0 }),
      ],
      notes: [
        `A request is touchToken of a random one of ${LIVE.toLocaleString('en')} live sessions, in any process: no ` +
          'process has users of its own. A kick is deleteUserToken of a session; another one takes its place.',
        'Accepted after the kick: from the return of the kick until the last check began, in any process, that still ' +
          `accepted the token; 0 where none did. ${WATCHED_PER_SECOND} kicks a second are looked at: beside its ` +
          'requests, each process checks those tokens every millisecond around the kick, with a near cache of its own.',
        'A wait is from a request to its answer. Requests come at a constant rate, whether earlier ones have been ' +
          'answered or not. An error is a request that failed, or refused a live session.',
      ],
    };
  } finally {
    await Promise.all(services.map((service) => service.stop()));
    await manager.close();
    await redis.stop();
  }
}

interface Scene {
  redis: RedisServer;
  /** Signs in and kicks. */
  manager: TokenManager;
  services: readonly Child[];
}

async function measure(
  { redis, manager, services }: Scene,
  prefix: string,
  pace: Pick<FleetPlan, 'kicksPerSecond' | 'durationMs'>,
): Promise<Sample> {
  const kicks = kicksIn(pace);
  const userIds = Array.from({ length: LIVE + kicks }, (_, place) => `${prefix}-user-${place}`);
  const tokens = await signIn(manager, userIds, LOGINS_AT_A_TIME);
  const plan: FleetPlan = { ...pace, tokens, live: LIVE, startAt: monotonicMs() + START_IN_MS };
  const step = Math.max(1, Math.round(pace.kicksPerSecond / WATCHED_PER_SECOND));
  const watched = Array.from({ length: Math.floor(kicks / step) }, (_, index) => index * step);
  const question: Question = { plan, perSecond: REQUESTS_PER_SECOND / PROCESSES, watched };
  const [{ returnedAt, redisBusy }, ...runs] = await Promise.all([
    conduct(redis, manager, plan, userIds),
    ...services.map((service) => service.ask<Run>(question)),
  ]);
  const sumOf = (count: (run: Run) => number) => runs.reduce((sum, run) => sum + count(run), 0);
  const stale = watched.map((kick, index) => {
    const accepted = runs.map(({ acceptedAt }) => acceptedAt[index] ?? Number.NEGATIVE_INFINITY);
    return Math.max(0, Math.max(...accepted) - (returnedAt[kick] as number));
  });
  return {
    hits: (100 * sumOf(({ hits }) => hits)) / sumOf(({ hits, misses }) => hits + misses),
    redisBusy,
    staleP50: quantile(stale, 0.5),
    staleP99: quantile(stale, 0.99),
    staleMax: Math.max(...stale),
    p99: Math.max(...runs.map(({ p99 }) => p99)),
    errors: sumOf(({ errors }) => errors),
    perSecond: sumOf(({ perSecond }) => perSecond),
    kicksPerSecond: kicks / ((Math.max(...returnedAt) - plan.startAt) / 1000),
  };
}

/** Makes the kicks, and measures Redis meanwhile. */
async function conduct(
  redis: RedisServer,
  manager: TokenManager,
  plan: FleetPlan,
  userIds: readonly string[],
): Promise<{ returnedAt: number[]; redisBusy: number }> {
  await sleep(Math.max(0, plan.startAt - monotonicMs()));
  const [beganAt, cpuBefore] = [monotonicMs(), await redisCpuMs(redis)];
  const returnedAt = await kickAll(manager, plan, userIds);
  await sleep(Math.max(0, plan.startAt + plan.durationMs - monotonicMs()));
  const cpuMs = (await redisCpuMs(redis)) - cpuBefore;
  return { returnedAt, redisBusy: (100 * cpuMs) / (monotonicMs() - beganAt) };
}

/** Kicks each user when it is due. Returns when each kick returned. */
async function kickAll(manager: TokenManager, plan: FleetPlan, userIds: readonly string[]): Promise<number[]> {
  const kicks = Array.from({ length: kicksIn(plan) }, async (_, kick) => {
    // Not before: a timer leaves out the part of a millisecond, and a service would take the kick for an error.
    await sleep(Math.max(0, Math.ceil(kickTime(plan, kick) - monotonicMs()) + 1));
    const ended = await manager.deleteUserToken(userIds[kick] as string);
    const returnedAt = monotonicMs();
    if (ended !== 1) throw new Error(`the kick ended ${ended} sessions`);
    return returnedAt;
  });
  return Promise.all(kicks);
}

function lineOf(samples: Samples, name: string, metric: string) {
  return { name, points: RATES.map((x) => ({ x, y: spreadOf(valuesOf(samples[rowOf(x)], metric)).median })) };
}

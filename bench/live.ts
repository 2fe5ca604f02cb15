import { setTimeout as sleep } from 'node:timers/promises';
import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { managerOn, PATIENT_MS, signIn, userIds } from './contestants';
import type { Question, Watching } from './live-watcher';
import { type CpuPlan, pin } from './machine';
import { monotonicMs } from './monotonic';
import { quantile } from './quantile';
import { judgeValue, type Part } from './report';
import type { Effort, Sample } from './rounds';

const WATCHERS = 8;
const SESSIONS = 10_000;
const QUICK_SESSIONS = 1000;
/** Logins at a time while the sessions are started. */
const LOGINS = 100;

interface Scenario {
  cache: boolean;
  /** Users that are kicked at the same moment. */
  users: number;
  rounds: number;
  quickRounds: number;
}

const ONE = 'one user';
const ONE_CACHED = 'one user, with a near cache';
const MANY = 'fifty users at once';

const SCENARIOS: Record<string, Scenario> = {
  [ONE]: { cache: false, users: 1, rounds: 1000, quickRounds: 50 },
  [ONE_CACHED]: { cache: true, users: 1, rounds: 1000, quickRounds: 50 },
  [MANY]: { cache: false, users: 50, rounds: 50, quickRounds: 5 },
};

/** How long after a kick the last signal aborts, where several processes watch the same sessions, and many others. */
export async function benchLive({ isQuick }: Effort, cpus: CpuPlan): Promise<Part> {
  const sessions = isQuick ? QUICK_SESSIONS : SESSIONS;
  const samples: Record<string, Sample[]> = {};
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    samples[name] = [await benchScenario(scenario, sessions, isQuick ? scenario.quickRounds : scenario.rounds, cpus)];
  }
  return {
    title:
      'Watched sessions: from the call of deleteUserToken to the last signal in ' +
      `${WATCHERS} processes that watch ${sessions} each`,
    metrics: [
      { name: 'p50', label: 'p50, ms', digits: 2 },
      { name: 'p99', label: 'p99, ms', digits: 2 },
      { name: 'max', label: 'max, ms', digits: 2 },
      { name: 'afterReturn', label: 'p99 after its return, ms', digits: 2 },
      { name: 'kicks', label: 'kicks', digits: 0 },
      { name: 'bytes', label: 'bytes of heap a watch', digits: 0 },
      { name: 'watchMs', label: 'until all are watched, ms', digits: 0 },
    ],
    samples,
    targets: [
      judgeValue(samples, { metric: 'p99', of: ONE, atMost: 20 }),
      judgeValue(samples, { metric: 'p99', of: ONE_CACHED, atMost: 20 }),
    ],
    notes: [
      `Each of the ${WATCHERS} processes watches the same ${sessions} sessions, each of another user. ` +
        'A time is that of the last signal in the last process.',
      'Times of all processes are of process.hrtime.bigint(), on Linux CLOCK_MONOTONIC, one clock for the whole machine.',
      'Until all are watched: from the first call of watch() in a process until the store has found all of them live, ' +
        'while the other processes do the same.',
    ],
  };
}

async function benchScenario(
  { cache, users }: Scenario,
  sessions: number,
  rounds: number,
  cpus: CpuPlan,
): Promise<Sample> {
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  const kicker = managerOn(redis.url, {}, PATIENT_MS);
  const watchers: Child[] = [];
  try {
    const ids = userIds(sessions);
    const tokens = await signIn(kicker, ids, LOGINS);
    for (let index = 0; index < WATCHERS; index++) {
      const cpu = index % 2 === 0 ? cpus.measured : cpus.load;
      watchers.push(await Child.start('live-watcher.ts', [redis.url, JSON.stringify(cache)], cpu));
    }
    const askAll = <Answer>(question: Question) =>
      Promise.all(watchers.map((watcher) => watcher.ask<Answer>(question)));
    const watching = await askAll<Watching>({ task: 'watch', tokens });

    const [fromCall, fromReturn]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      const kicked = Array.from({ length: users }, (_, i) => round * users + i);
      const ends = askAll<number>({ task: 'await', indexes: kicked });
      // Time to begin.
      await sleep(5 + 2 * Math.random());
      const calledAt = monotonicMs();
      await Promise.all(kicked.map((index) => kicker.deleteUserToken(ids[index] as string)));
      const returnedAt = monotonicMs();
      const last = Math.max(...(await ends));
      fromCall.push(last - calledAt);
      fromReturn.push(last - returnedAt);
    }
    return {
      p50: quantile(fromCall, 0.5),
      p99: quantile(fromCall, 0.99),
      max: Math.max(...fromCall),
      afterReturn: quantile(fromReturn, 0.99),
      kicks: rounds * users,
      bytes: quantile(
        watching.map(({ bytes }) => bytes),
        0.5,
      ),
      watchMs: Math.max(...watching.map(({ ms }) => ms)),
    };
  } finally {
    await Promise.all(watchers.map((watcher) => watcher.stop()));
    await kicker.close();
    await redis.stop();
  }
}

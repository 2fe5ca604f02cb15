import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pin } from './machine';
import { infoNumber, redisCpuMs } from './redis-info';
import { judge, type Line, type Part, type Series, valuesOf } from './report';
import { type Effort, interleave, type Sample, type Samples, spreadOf } from './rounds';
import type { Operation, Question, Times } from './scale-contestant';
import { DISTRIBUTION, usersWith } from './scale-users';

/** Sessions; as many as the option `--sessions` allows. */
export const SIZES = [1000, 10_000, 100_000, 1_000_000, 10_000_000];
/** A search of all sessions takes too much time and memory beyond that. */
const MOST_TO_SEARCH = 1_000_000;
const OPERATIONS: Operation[] = ['check', 'login', 'list', 'kick one', 'kick all'];
/** Operations in a round. */
const TIMES = 1000;
const QUICK_TIMES = 200;
/** Rounds of one kick each. */
const SCAN_ROUNDS = 3;
const SCAN_KICK = 'kick all, connect-redis';

/** How the number of sessions affects operations on one user, and a kick with connect-redis. */
export async function benchScale({ isQuick, rounds, sessions }: Effort, cpus: CpuPlan): Promise<Part> {
  const sizes = SIZES.filter((size) => size >= (isQuick ? 1000 : 10_000) && size <= sessions);
  const searched = sizes.filter((size) => size <= MOST_TO_SEARCH);
  const [smallest = 0, largest = 0, largestSearched = 0] = [sizes[0], sizes.at(-1), searched.at(-1)];
  const ours = await benchContestant('tokensession', cpus, sizes, {
    operations: OPERATIONS,
    rounds,
    times: isQuick ? QUICK_TIMES : TIMES,
  });
  const theirs = await benchContestant('connect-redis', cpus, searched, {
    operations: ['kick all'],
    rounds: Math.min(rounds, SCAN_ROUNDS),
    times: 1,
  });
  const samples: Samples = { ...ours.samples };
  for (const size of searched) samples[rowOf(SCAN_KICK, size)] = theirs.samples[rowOf('kick all', size)] as Sample[];

  return {
    title: `Scale: one call at a time, up to ${largest.toLocaleString('en')} sessions`,
    metrics: [
      { name: 'p50', label: 'p50, ms', digits: 3 },
      { name: 'p99', label: 'p99, ms', digits: 3 },
      { name: 'redisMs', label: 'Redis CPU, ms', digits: 3 },
    ],
    samples,
    series: [
      seriesOf(
        'A call among many sessions',
        OPERATIONS.flatMap((operation) => [
          lineOf(samples, sizes, operation, 'p50'),
          lineOf(samples, sizes, operation, 'p99'),
        ]),
      ),
      seriesOf('To kick one user among many', [
        { ...lineOf(samples, sizes, 'kick all', 'p50'), name: 'tokensession' },
        { ...lineOf(samples, searched, SCAN_KICK, 'p50'), name: 'connect-redis' },
      ]),
    ],
    targets: [
      ...OPERATIONS.map((operation) =>
        judge(samples, {
          metric: 'p50',
          ours: rowOf(operation, largest),
          theirs: rowOf(operation, smallest),
          atMost: 1.5,
        }),
      ),
      judge(samples, {
        metric: 'p50',
        ours: rowOf(SCAN_KICK, largestSearched),
        theirs: rowOf('kick all', largestSearched),
        atLeast: 1000,
      }),
    ],
    notes: [
      `${largest.toLocaleString('en')} sessions of ${usersWith(largest).toLocaleString('en')} users: ${DISTRIBUTION}.`,
      'Each operation is done to random users, all sessions of theirs being there; what it has changed is undone ' +
        'outside the measurement.',
      `tokensession: ${ours.filling}, as copies of users who had signed in. connect-redis: ${theirs.filling}, ` +
        'by store.set().',
      'connect-redis kicks by store.all() (SCAN of all keys, one MGET), a look for the user in each, and ' +
        "store.destroy() of the user's.",
    ],
  };
}

interface Outcome {
  samples: Samples;
  filling: string;
}

async function benchContestant(
  name: string,
  cpus: CpuPlan,
  sizes: readonly number[],
  { operations, rounds, times }: { operations: readonly Operation[]; rounds: number; times: number },
): Promise<Outcome> {
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  let child: Child | undefined;
  try {
    child = await Child.start('scale-contestant.ts', [name, redis.url], cpus.measured);
    const ask = (question: Question) => (child as Child).ask<Times>(question);
    const before = await infoNumber(redis, 'used_memory');
    let fillMs = 0;
    const samples: Samples = {};
    for (const size of sizes) {
      const began = performance.now();
      await ask({ task: 'fill', users: usersWith(size) });
      fillMs += performance.now() - began;
      const measured = await interleave(operations, { rounds, warmUps: 1 }, async (operation) => {
        await ask({ task: 'prepare', operation: operation as Operation, times });
        const cpuBefore = await redisCpuMs(redis);
        const { p50, p99 } = await ask({ task: 'run' });
        const redisMs = ((await redisCpuMs(redis)) - cpuBefore) / times;
        await ask({ task: 'restore' });
        return { p50, p99, redisMs };
      });
      for (const operation of operations) samples[rowOf(operation, size)] = measured[operation] as Sample[];
    }
    const sessions = sizes.at(-1) ?? 0;
    const perSecond = Math.round((1000 * sessions) / fillMs).toLocaleString('en');
    const bytes = Math.round(((await infoNumber(redis, 'used_memory')) - before) / sessions);
    return {
      samples,
      filling: `filled with ${perSecond} sessions/s by one process, ${bytes} bytes a session in the end`,
    };
  } finally {
    await child?.stop();
    await redis.stop();
  }
}

function rowOf(operation: string, size: number): string {
  return `${operation}, ${size.toLocaleString('en')} sessions`;
}

function seriesOf(title: string, lines: Line[]): Series {
  return { title, x: { label: 'sessions', log: true }, y: { label: 'ms', log: true }, lines };
}

function lineOf(samples: Samples, sizes: readonly number[], operation: string, metric: string): Line {
  return {
    name: `${operation}, ${metric}`,
    points: sizes.map((x) => ({ x, y: spreadOf(valuesOf(samples[rowOf(operation, x)], metric)).median })),
  };
}

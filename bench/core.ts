import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pin } from './machine';
import { judge, judgeValue, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

/** The names that core-contestant.ts knows them by. */
const CONTESTANTS = [
  'GET',
  'checkToken',
  'checkToken, cached',
  'touchToken',
  'touchToken, cached',
  'redis-sessions get',
  'redis-sessions get, cached',
];

/**
 * One call that finds out who signed in, in Node alone: no HTTP. All on one Redis, each in a process of its own, one at
 * a time.
 */
export async function benchCore({ rounds, coreMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  const children = new Map<string, Child>();
  try {
    for (const name of CONTESTANTS) {
      children.set(name, await Child.start('core-contestant.ts', [name, redis.url], cpus.measured));
    }
    const samples = await interleave(CONTESTANTS, { rounds, warmUp: true }, (name) =>
      (children.get(name) as Child).ask<Sample>(coreMs),
    );
    return {
      title: 'Core: a call, 16 in flight, 1,000 sessions',
      metrics: [
        { name: 'callsPerSecond', label: 'calls/s', digits: 0 },
        { name: 'cpuMicros', label: 'CPU µs/call', digits: 2 },
      ],
      samples,
      targets: [
        judge(samples, {
          metric: 'callsPerSecond',
          ours: 'checkToken',
          theirs: 'redis-sessions get',
          atLeast: 3,
        }),
        judge(samples, { metric: 'cpuMicros', ours: 'checkToken', theirs: 'GET', atMost: 1.8 }),
        judgeValue(samples, { metric: 'cpuMicros', of: 'checkToken, cached', atMost: 2 }),
      ],
    };
  } finally {
    await Promise.all([...children.values()].map((child) => child.stop()));
    await redis.stop();
  }
}

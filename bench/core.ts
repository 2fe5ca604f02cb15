import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pinInTurns } from './machine';
import { judge, type Part } from './report';
import { type Effort, interleaveAfresh, type Sample } from './rounds';

/** Contestants of core-contestant.ts that call Redis, measured with this many calls in flight. */
const ASKING = ['GET', 'HMGET + GET', 'EVALSHA, signed', 'checkToken', 'touchToken', 'redis-sessions get'];
const IN_FLIGHT = [1, 16, 100];
/** Contestants that answer from memory, where no calls are in flight together. */
const CACHED = ['checkToken, cached', 'touchToken, cached', 'redis-sessions get, cached'];

const rowOf = (name: string, inFlight: number) => `${name}, ${inFlight} in flight`;

interface Row {
  name: string;
  inFlight: number;
}

const ROWS: ReadonlyMap<string, Row> = new Map([
  ...ASKING.flatMap((name) => IN_FLIGHT.map((inFlight): [string, Row] => [rowOf(name, inFlight), { name, inFlight }])),
  ...CACHED.map((name): [string, Row] => [name, { name, inFlight: 1 }]),
]);

/**
 * One call that finds the user of a token, in Node alone: no HTTP. All use one Redis; each runs in processes of its
 * own, one at a time.
 */
export async function benchCore({ bursts, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pinInTurns(redis.pid, cpus.measured);
  try {
    const samples = await interleaveAfresh([...ROWS.keys()], bursts, async () => {
      const children = await startChildren(redis.url, cpus.measured);
      return {
        async measure(row): Promise<Sample> {
          const { name, inFlight } = ROWS.get(row) as Row;
          const child = children.get(name) as Child;
          if (CACHED.includes(row)) await child.ask('warm');
          return { cpuMicros: await child.cpuMicrosPerCall(() => child.ask({ inFlight, durationMs: burstMs })) };
        },
        async stop() {
          await stopAll(children);
          await redis.admin.flushall();
        },
      };
    });
    return {
      title: 'Core: a call, 1,000 sessions',
      metrics: [{ name: 'cpuMicros', label: 'CPU µs/call', digits: 2 }],
      samples,
      targets: [
        ...IN_FLIGHT.map((inFlight) =>
          judge(samples, {
            metric: 'cpuMicros',
            ours: rowOf('redis-sessions get', inFlight),
            theirs: rowOf('checkToken', inFlight),
            atLeast: 3,
          }),
        ),
        judge(samples, { metric: 'cpuMicros', ours: rowOf('checkToken', 16), theirs: rowOf('GET', 16), atMost: 1.8 }),
        // 1.5 µs on a machine where GET takes 11. Other machines are compared by the ratio.
        judge(samples, { metric: 'cpuMicros', ours: 'checkToken, cached', theirs: rowOf('GET', 16), atMost: 0.14 }),
      ],
    };
  } finally {
    await redis.stop();
  }
}

/** Starts a process of each contestant, one for all its rows. */
async function startChildren(redisUrl: string, cpu: number | null): Promise<ReadonlyMap<string, Child>> {
  const children = new Map<string, Child>();
  try {
    for (const name of [...ASKING, ...CACHED]) {
      const child = await Child.start('core-contestant.ts', [name, redisUrl], cpu);
      children.set(name, child);
      pinInTurns(child.pid, cpu);
    }
    return children;
  } catch (error) {
    await stopAll(children);
    throw error;
  }
}

async function stopAll(children: ReadonlyMap<string, Child>): Promise<void> {
  await Promise.all([...children.values()].map((child) => child.stop()));
}

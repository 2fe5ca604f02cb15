import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pinInTurns } from './machine';
import { judge, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

/** Contestants of core-contestant.ts that call Redis, measured with this many calls in flight. */
const ASKING = ['GET', 'HMGET + GET', 'checkToken', 'touchToken', 'redis-sessions get'];
const IN_FLIGHT = [1, 16, 100];
/** Contestants that answer from memory, where no calls are in flight together. */
const CACHED = ['checkToken, cached', 'touchToken, cached', 'redis-sessions get, cached'];

const rowOf = (name: string, inFlight: number) => `${name}, ${inFlight} in flight`;

/**
 * One call that finds the user of a token, in Node alone: no HTTP. All use one Redis; each runs in its own process, one
 * at a time.
 */
export async function benchCore({ bursts, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pinInTurns(redis.pid, cpus.measured);
  const rows = new Map<string, { child: Child; inFlight: number }>();
  const children: Child[] = [];
  try {
    for (const name of [...ASKING, ...CACHED]) {
      const child = await Child.start('core-contestant.ts', [name, redis.url], cpus.measured);
      children.push(child);
      pinInTurns(child.pid, cpus.measured);
      if (CACHED.includes(name)) rows.set(name, { child, inFlight: 1 });
      else for (const inFlight of IN_FLIGHT) rows.set(rowOf(name, inFlight), { child, inFlight });
    }
    const samples = await interleave([...rows.keys()], bursts, async (row): Promise<Sample> => {
      const { child, inFlight } = rows.get(row) as { child: Child; inFlight: number };
      if (CACHED.includes(row)) await child.ask('warm');
      return { cpuMicros: await child.cpuMicrosPerCall(() => child.ask({ inFlight, durationMs: burstMs })) };
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
    await Promise.all(children.map((child) => child.stop()));
    await redis.stop();
  }
}

import { nodeProgram } from '../test/support/downloads';
import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pinInTurns } from './machine';
import { judgeValue, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

const NODES = [20, 22, 24, 26];
const IN_FLIGHT = 16;

/** Percent of a check that our own HMAC must save. With less, the standard call would be the better one. */
const WANTED_PERCENT = 5;

/** Signing on each version of Node: our HMAC of two hashes, and Node's `createHmac`. */
export async function benchHmac({ bursts, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pinInTurns(redis.pid, cpus.measured);
  const children: Child[] = [];
  const rows = new Map<string, { signing: Child; checking: Child }>();
  const start = async (program: string, args: string[], node: string) => {
    const child = await Child.start(program, args, cpus.measured, node);
    children.push(child);
    pinInTurns(child.pid, cpus.measured);
    return child;
  };
  try {
    for (const version of NODES) {
      const node = await nodeProgram(version);
      const signing = await start('hmac-contestant.ts', [], node);
      const checking = await start('core-contestant.ts', ['checkToken', redis.url], node);
      rows.set(`Node ${version}`, { signing, checking });
    }
    const samples = await interleave([...rows.keys()], bursts, async (row): Promise<Sample> => {
      const { signing, checking } = rows.get(row) as { signing: Child; checking: Child };
      const sign = (way: string) => signing.cpuMicrosPerCall(() => signing.ask({ way, durationMs: burstMs / 2 }));
      const ours = await sign('two hashes');
      const text = await sign('createHmac');
      const keyObject = await sign('createHmac, KeyObject');
      const check = await checking.cpuMicrosPerCall(() => checking.ask({ inFlight: IN_FLIGHT, durationMs: burstMs }));
      return { ours, text, keyObject, check, saved: (100 * (Math.min(text, keyObject) - ours)) / check };
    });
    return {
      title: 'HMAC-SHA-256: a signature of a token',
      metrics: [
        { name: 'ours', label: 'two hashes, CPU µs', digits: 2 },
        { name: 'text', label: 'createHmac, CPU µs', digits: 2 },
        { name: 'keyObject', label: 'createHmac with a KeyObject, CPU µs', digits: 2 },
        { name: 'check', label: `checkToken, ${IN_FLIGHT} in flight, CPU µs`, digits: 2 },
        { name: 'saved', label: '% of a check saved', digits: 1 },
      ],
      samples,
      targets: [...rows.keys()].map((of) => judgeValue(samples, { metric: 'saved', of, atLeast: WANTED_PERCENT })),
    };
  } finally {
    await Promise.all(children.map((child) => child.stop()));
    await redis.stop();
  }
}

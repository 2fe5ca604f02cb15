import { nodeProgram } from '../test/support/downloads';
import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pinInTurns } from './machine';
import { judgeValue, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

const NODES = [20, 22, 24, 26];
const OURS = 'checkToken';
const STANDARD = 'checkToken, createHmac';

/** Percent of a check that our own HMAC must save. With less, the standard call would be the better one. */
const WANTED_PERCENT = 5;

/** Whole checks on each version of Node, with our HMAC of two hashes and with Node's `createHmac`. */
export async function benchHmac({ bursts, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pinInTurns(redis.pid, cpus.measured);
  const children: Child[] = [];
  const rows = new Map<string, { ours: Child; standard: Child; isOursFirst: boolean }>();
  const start = async (name: string, node: string) => {
    const child = await Child.start('core-contestant.ts', [name, redis.url], cpus.measured, node);
    children.push(child);
    pinInTurns(child.pid, cpus.measured);
    return child;
  };
  try {
    for (const version of NODES) {
      const node = await nodeProgram(version);
      const [ours, standard] = [await start(OURS, node), await start(STANDARD, node)];
      rows.set(`Node ${version}`, { ours, standard, isOursFirst: false });
    }
    const samples = await interleave([...rows.keys()], bursts, async (name): Promise<Sample> => {
      const row = rows.get(name) as { ours: Child; standard: Child; isOursFirst: boolean };
      // Neither always profits from its predecessor.
      row.isOursFirst = !row.isOursFirst;
      const { ours, standard, isOursFirst } = row;
      const microsOf = async (inFlight: number): Promise<[ours: number, standard: number]> => {
        const burst = (child: Child) => child.cpuMicrosPerCall(() => child.ask({ inFlight, durationMs: burstMs }));
        if (isOursFirst) return [await burst(ours), await burst(standard)];
        const micros = await burst(standard);
        return [await burst(ours), micros];
      };
      const [lone, loneStandard] = await microsOf(1);
      const [many, manyStandard] = await microsOf(16);
      const percent = (micros: number, standardMicros: number) => (100 * (standardMicros - micros)) / standardMicros;
      return {
        lone,
        loneStandard,
        loneSaved: percent(lone, loneStandard),
        many,
        manyStandard,
        manySaved: percent(many, manyStandard),
      };
    });
    const saved = ['loneSaved', 'manySaved'];
    return {
      title: 'HMAC-SHA-256: a check',
      metrics: [
        { name: 'lone', label: '1 in flight, CPU µs', digits: 1 },
        { name: 'loneStandard', label: '1 in flight, createHmac, CPU µs', digits: 1 },
        { name: 'loneSaved', label: '% saved, 1 in flight', digits: 1 },
        { name: 'many', label: '16 in flight, CPU µs', digits: 1 },
        { name: 'manyStandard', label: '16 in flight, createHmac, CPU µs', digits: 1 },
        { name: 'manySaved', label: '% saved, 16 in flight', digits: 1 },
      ],
      samples,
      targets: [...rows.keys()].flatMap((of) =>
        saved.map((metric) => judgeValue(samples, { metric, of, atLeast: WANTED_PERCENT })),
      ),
    };
  } finally {
    await Promise.all(children.map((child) => child.stop()));
    await redis.stop();
  }
}

import { nodeProgram } from '../test/support/downloads';
import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pinInTurns } from './machine';
import { judgeValue, type Part } from './report';
import { type Effort, interleaveAfresh, type Sample } from './rounds';

const NODES = [20, 22, 24, 26];
const OURS = 'checkToken';
const STANDARD = 'checkToken, createHmac';

/** Percent of a check that our own HMAC must save. With less, the standard call would be the better one. */
const WANTED_PERCENT = 5;

interface Row {
  ours: Child;
  standard: Child;
  isOursFirst: boolean;
}

/** Whole checks on each version of Node, with our HMAC of two hashes and with Node's `createHmac`. */
export async function benchHmac({ bursts, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pinInTurns(redis.pid, cpus.measured);
  const children: Child[] = [];
  const stopAll = () => Promise.all(children.splice(0).map((child) => child.stop()));
  const start = async (name: string, node: string) => {
    const child = await Child.start('core-contestant.ts', [name, redis.url], cpus.measured, node);
    children.push(child);
    pinInTurns(child.pid, cpus.measured);
    return child;
  };
  try {
    const nodes = new Map<string, string>();
    for (const version of NODES) nodes.set(`Node ${version}`, await nodeProgram(version));
    const samples = await interleaveAfresh([...nodes.keys()], bursts, async () => {
      const rows = new Map<string, Row>();
      for (const [name, node] of nodes) {
        rows.set(name, { ours: await start(OURS, node), standard: await start(STANDARD, node), isOursFirst: false });
      }
      return { measure: (name) => saved(rows.get(name) as Row, burstMs), stop: stopAll };
    });
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
      targets: [...nodes.keys()].flatMap((of) =>
        ['loneSaved', 'manySaved'].map((metric) => judgeValue(samples, { metric, of, atLeast: WANTED_PERCENT })),
      ),
    };
  } finally {
    await stopAll();
    await redis.stop();
  }
}

async function saved(row: Row, durationMs: number): Promise<Sample> {
  // Neither always profits from its predecessor.
  row.isOursFirst = !row.isOursFirst;
  const { ours, standard, isOursFirst } = row;
  const microsOf = async (inFlight: number): Promise<[ours: number, standard: number]> => {
    const burst = (child: Child) => child.cpuMicrosPerCall(() => child.ask({ inFlight, durationMs }));
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
}

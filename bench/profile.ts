import { startRedis } from '../test/support/redis-server';
import { closeServers, openServer, type Server } from './http';
import type { Load } from './load';
import { type CpuPlan, pin } from './machine';
import type { Part } from './report';
import type { Effort, Sample } from './rounds';

const CONTESTANTS = { cachedMicros: 'tokensession, cached', micros: 'tokensession' };

/** The profiler runs for this many bursts of the HTTP parts. */
const BURSTS = 40;

/** µs below which a function has no row: there are a hundred of them. */
const LEAST_MICROS = 0.2;

/** Where the time of a request of Koa goes, by V8's profiler. */
export async function benchProfile({ httpWarmUps, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pin(redis.pid, cpus.load);
  const servers: Server[] = [];
  try {
    const places = new Map<string, Sample>();
    for (const [metric, name] of Object.entries(CONTESTANTS)) {
      // On a CPU of its own, since the profiler counts what interrupts the server as its time.
      const server = await openServer('koa-server.ts', name, redis.url, cpus.measured);
      servers.push(server);
      const load = server.load as Load;
      for (let round = 0; round < httpWarmUps; round++) await load.burst(burstMs);
      await server.child.ask('start profile');
      const requests = await load.burst(BURSTS * burstMs);
      const micros = await server.child.ask<Record<string, number>>('stop profile');
      for (const [place, value] of Object.entries(micros)) {
        places.set(place, { ...places.get(place), [metric]: value / requests });
      }
    }
    return {
      title: 'Koa 3: where the time of a request goes',
      metrics: [
        { name: 'cachedMicros', label: 'cached, µs/request', digits: 2 },
        { name: 'micros', label: 'not cached, µs/request', digits: 2 },
      ],
      samples: Object.fromEntries(rowsOf(places).map(([place, sample]) => [place, [sample]])),
      targets: [],
    };
  } finally {
    await closeServers(servers);
    await redis.stop();
  }
}

/** The packages, then the functions of ours; the most expensive first. */
function rowsOf(places: ReadonlyMap<string, Sample>): [string, Sample][] {
  const cost = ([, sample]: [string, Sample]) => Math.max(...Object.values(sample));
  const isFunction = ([place]: [string, Sample]) => place.includes(': ');
  const rows = [...places].filter((row) => cost(row) >= LEAST_MICROS);
  rows.sort((a, b) => Number(isFunction(a)) - Number(isFunction(b)) || cost(b) - cost(a));
  return rows;
}

import { type DebianServer, REDIS_7, REDIS_8, unpackServer, VALKEY_9 } from '../test/support/debian-server';
import { type RedisServer, startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pin } from './machine';
import { CONNECT_REDIS, GET_AND_EXPIRE_MICROS, measure } from './redis-side';
import type { Done, Question } from './redis-side-contestant';
import { judge, type Part } from './report';
import { type Effort, interleave } from './rounds';

const SERVERS: readonly DebianServer[] = [REDIS_7, REDIS_8, VALKEY_9];

/** The plain commands that a replica refuses: the second ones need {@link HGETEX_SINCE}. */
const PLAIN = ['HGETEX + GETEX', 'HGETEX'];
const HAVE_HGETEX = [REDIS_8, VALKEY_9];
const OURS = ['checkToken', 'touchToken'];

/** µs of Redis's CPU for a check on servers with HGETEX, where GET and EXPIRE take as long as in redis-side.ts. */
const WANTED_CHECK_MICROS = 1.5;

const nameOf = ({ name, version }: DebianServer) => `${name} ${version}`;
const contestantsOn = (server: DebianServer) => [
  ...OURS,
  ...(HAVE_HGETEX.includes(server) ? PLAIN : ['HMGET + GET']),
  CONNECT_REDIS,
];

/** The cost of a check on other versions of the server, by scripts and plain commands. Needs apt-get and dpkg-deb. */
export async function benchServers({ bursts, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const running: RedisServer[] = [];
  const rows = new Map<string, { redis: RedisServer; child: Child }>();
  try {
    for (const server of SERVERS) {
      const redis = await startRedis({}, { program: (await unpackServer(server)).program });
      running.push(redis);
      pin(redis.pid, cpus.redis);
      for (const name of contestantsOn(server)) {
        const child = await Child.start('redis-side-contestant.ts', [name, redis.url], cpus.measured);
        rows.set(`${nameOf(server)}: ${name}`, { redis, child });
        await child.ask({ task: 'warm' });
        await child.ask({ task: 'record' });
      }
    }
    const samples = await interleave([...rows.keys()], bursts, async (row) => {
      const { redis, child } = rows.get(row) as { redis: RedisServer; child: Child };
      const ask = (question: Question) => child.ask<Done>(question);
      await ask({ task: 'warm' });
      const serviceMicros = await child.cpuMicrosPerCall(async () => {
        const { calls } = await ask({ task: 'call', durationMs: burstMs });
        return calls;
      });
      const cost = await measure(redis, () => ask({ task: 'replay', durationMs: burstMs }));
      return { ...cost, serviceMicros };
    });
    return {
      title: 'Servers: a call, 1,000 sessions',
      metrics: [
        { name: 'redisMicros', label: 'Redis CPU µs/call, saturated', digits: 2 },
        { name: 'callsPerSecond', label: 'calls/s, saturated', digits: 0 },
        { name: 'serviceMicros', label: 'service CPU µs/call', digits: 1 },
      ],
      samples,
      targets: HAVE_HGETEX.map(nameOf).flatMap((server) => [
        judge(samples, {
          metric: 'redisMicros',
          ours: `${server}: checkToken`,
          theirs: `${server}: ${CONNECT_REDIS}`,
          atMost: Math.round((100 * WANTED_CHECK_MICROS) / GET_AND_EXPIRE_MICROS) / 100,
        }),
        judge(samples, {
          metric: 'callsPerSecond',
          ours: `${server}: ${CONNECT_REDIS}`,
          theirs: `${server}: checkToken`,
          atMost: 1.5,
        }),
      ]),
      notes: [
        'Saturated, and calls of a service: as in the part redis-side. Servers are packages of Debian.',
        'HMGET + GET, HGETEX + GETEX and HGETEX only read what a check reads: no signature and no judgement.',
      ],
    };
  } finally {
    await Promise.all([...rows.values()].map(({ child }) => child.stop()));
    await Promise.all(running.map((redis) => redis.stop()));
  }
}

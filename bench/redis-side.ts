import { isDeepStrictEqual } from 'node:util';
import { type RedisServer, startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pin } from './machine';
import type { Done, Question } from './redis-side-contestant';
import { judge, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

const SATURATED = ', saturated';
export const CONNECT_REDIS = 'connect-redis get + touch';

/** µs of Redis's CPU, on a machine where GET and EXPIRE take this long. Other machines are compared by the ratio. */
const WANTED_MICROS = { checkToken: 5, touchToken: 8 };
export const GET_AND_EXPIRE_MICROS = 1.4;

/** Contestants of redis-side-contestant.ts. Each of their calls reaches Redis. */
const ASKING = [
  'GET',
  'GETEX',
  'HMGET + GET',
  'checkToken',
  'touchToken',
  'touchToken, slideEvery 60',
  CONNECT_REDIS,
  'redis-sessions get',
];
const CACHED = ['checkToken, cached', 'touchToken, cached'];

/** The cost of a check for Redis, which all services share: CPU, network, and how many checks one core can serve. */
export async function benchRedisSide({ bursts, burstMs }: Effort, cpus: CpuPlan): Promise<Part> {
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  const children = new Map<string, Child>();
  const ask = (name: string, question: Question) => (children.get(name) as Child).ask<Done>(question);
  try {
    // First, because a near cache sends heartbeats.
    const rolling = await requestOfExpressSession(redis, cpus.measured);
    const sent = new Map<string, string[]>();
    for (const name of [...ASKING, ...CACHED]) {
      children.set(name, await Child.start('redis-side-contestant.ts', [name, redis.url], cpus.measured));
      await ask(name, { task: 'warm' });
      if (ASKING.includes(name)) await ask(name, { task: 'record' });
      sent.set(name, await commandsOf(redis, () => ask(name, { task: 'once' })));
    }
    if (!isDeepStrictEqual(sent.get(CONNECT_REDIS), rolling)) {
      throw new Error(`express-session sends ${rolling}, and the contestant ${sent.get(CONNECT_REDIS)}`);
    }

    const rows = [...ASKING.flatMap((name) => [name, `${name}${SATURATED}`]), ...CACHED];
    const samples = await interleave(rows, bursts, async (row) => {
      const name = row.replace(SATURATED, '');
      await ask(name, { task: 'warm' });
      return measure(redis, () => ask(name, { task: row === name ? 'call' : 'replay', durationMs: burstMs }));
    });
    return {
      title: "Redis's side: a call, 1,000 sessions",
      metrics: [
        { name: 'redisMicros', label: 'Redis CPU µs/call', digits: 2 },
        { name: 'callsPerSecond', label: 'calls/s', digits: 0 },
        { name: 'redisBusy', label: "% of Redis's core", digits: 0 },
        { name: 'bytesIn', label: 'bytes to Redis/call', digits: 0 },
        { name: 'bytesOut', label: 'bytes from Redis/call', digits: 0 },
      ],
      samples,
      targets: [
        judge(samples, {
          metric: 'redisMicros',
          ours: 'touchToken, cached',
          theirs: CONNECT_REDIS,
          atMost: 0.1,
        }),
        ...Object.entries(WANTED_MICROS).map(([call, micros]) =>
          judge(samples, {
            metric: 'redisMicros',
            ours: `${call}${SATURATED}`,
            theirs: `${CONNECT_REDIS}${SATURATED}`,
            atMost: Math.round((100 * micros) / GET_AND_EXPIRE_MICROS) / 100,
          }),
        ),
      ],
      notes: [
        'CPU and network are by INFO: used_cpu_user + used_cpu_sys, total_net_input_bytes, total_net_output_bytes, less what INFO itself takes.',
        [
          'A process has 16 calls in flight on one connection. For the saturated rows, the bench records the bytes',
          'that such a process sends. 16 connections then repeat them, 48 calls at a time on each.',
        ].join(' '),
        'Cached, each session had been checked a moment before. One that is asked for every second reaches Redis with one check in 5 (maxAgeMs).',
        `Sent for a call, by MONITOR: ${[...sent].map(([name, commands]) => `${name}: ${commands.join(' ') || 'nothing'}`).join('; ')}.`,
        'The bench checks that express-session with rolling: true sends the same commands as its contestant.',
      ],
    };
  } finally {
    await Promise.all([...children.values()].map((child) => child.stop()));
    await redis.stop();
  }
}

/** The commands that clients send during an operation, without those inside scripts. */
async function commandsOf(redis: RedisServer, work: () => Promise<unknown>): Promise<string[]> {
  const monitor = await redis.admin.monitor();
  const commands: string[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      monitor.on('monitor', (_time: string, [command = '']: string[], source: string) => {
        if (command.toLowerCase() === 'echo') resolve();
        else if (source !== 'lua') commands.push(command.toUpperCase());
      });
      work()
        .then(() => redis.admin.echo('done'))
        .catch(reject);
    });
  } finally {
    monitor.disconnect();
  }
  return commands;
}

async function requestOfExpressSession(redis: RedisServer, cpu: number | null): Promise<string[]> {
  const server = await Child.start('express-server.ts', ['express-session', redis.url], cpu);
  try {
    const url = `http://127.0.0.1:${await server.ask<number>('port')}`;
    const login = await fetch(`${url}/login/user-00`, { method: 'POST' });
    const cookie = login.headers
      .getSetCookie()
      .map((header) => header.split(';', 1)[0])
      .join('; ');
    return await commandsOf(redis, async () => {
      const response = await fetch(url, { headers: { cookie } });
      if ((await response.text()) !== '{"user":"user-00"}')
        throw new Error(`express-session answered ${response.status}`);
    });
  } finally {
    await server.stop();
  }
}

/** What some calls cost Redis. */
export async function measure(redis: RedisServer, work: () => Promise<Done>): Promise<Sample> {
  const first = await look(redis);
  const before = await look(redis);
  const { calls, seconds } = await work();
  const after = await look(redis);
  // The next poll sees this one.
  const used = (of: (at: Look) => number) => of(after) - of(before) - (of(before) - of(first));
  const cpuMicros = used(({ cpuMicros }) => cpuMicros);
  return {
    redisMicros: cpuMicros / calls,
    callsPerSecond: calls / seconds,
    redisBusy: (100 * cpuMicros) / 1e6 / ((after.at - before.at) / 1000),
    bytesIn: used(({ bytesIn }) => bytesIn) / calls,
    bytesOut: used(({ bytesOut }) => bytesOut) / calls,
  };
}

interface Look {
  at: number;
  cpuMicros: number;
  bytesIn: number;
  bytesOut: number;
}

async function look({ admin }: RedisServer): Promise<Look> {
  const info = await admin.info();
  const read = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]);
  return {
    at: performance.now(),
    cpuMicros: 1e6 * (read('used_cpu_user') + read('used_cpu_sys')),
    bytesIn: read('total_net_input_bytes'),
    bytesOut: read('total_net_output_bytes'),
  };
}

import { MAX_REMEMBERED, MAX_SESSIONS } from '../src/store/limits';
import { MAX_ATTRIBUTE_LENGTH } from '../src/store/session-attributes';
import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { managerOn, PATIENT_MS, storeData } from './contestants';
import type { Checks, Question } from './hot-user-service';
import { type CpuPlan, pin } from './machine';
import { infoNumber, redisCpuMs } from './redis-info';
import { judge, judgeValue, type Part } from './report';
import { type Effort, interleave } from './rounds';

const CHECKS_PER_SECOND = 1000;
const BURST_MS = 3000;
const QUICK_BURST_MS = 1000;
/** The default of `maxDataBytes`. */
const DATA_BYTES = 65_536;
/** The most characters of the message of a kick. */
const MESSAGE_LENGTH = 256;

const ONE = 'one session';
const MOST = 'maximal hash';
const ASKING = ['checkToken', 'touchToken'];
const CALLS = [...ASKING, 'touchToken, cached'];

const rowOf = (call: string, user: string) => `${call}, ${user}`;

/** Many checks a second of one user, who has as much in Redis as the limits allow. */
export async function benchHotUser({ isQuick, rounds }: Effort, cpus: CpuPlan): Promise<Part> {
  const durationMs = isQuick ? QUICK_BURST_MS : BURST_MS;
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  const children: Child[] = [];
  try {
    const bytesBefore = await infoNumber(redis, 'used_memory');
    const users: Record<string, string[]> = { [MOST]: await signInMost(redis.url) };
    const bytes = (await infoNumber(redis, 'used_memory')) - bytesBefore;
    users[ONE] = [await signInOnce(redis.url)];
    const rows = new Map<string, { child: Child; user: string }>();
    for (const call of CALLS) {
      const child = await Child.start('hot-user-service.ts', [redis.url, call], cpus.measured);
      children.push(child);
      await child.ask({ task: 'watch', tokens: users[MOST] as string[] } satisfies Question);
      for (const user of [ONE, MOST]) rows.set(rowOf(call, user), { child, user });
    }
    const samples = await interleave([...rows.keys()], { rounds, warmUps: 1 }, async (row) => {
      const { child, user } = rows.get(row) as { child: Child; user: string };
      const cpuBefore = await redisCpuMs(redis);
      const pace = { perSecond: CHECKS_PER_SECOND, durationMs };
      const checks = await child.ask<Checks>({
        task: 'check',
        tokens: users[user] as string[],
        pace,
      } satisfies Question);
      return { ...checks, redisBusy: (100 * ((await redisCpuMs(redis)) - cpuBefore)) / durationMs };
    });
    return {
      title: `A hot user: ${CHECKS_PER_SECOND.toLocaleString('en')} checks a second`,
      metrics: [
        { name: 'p50', label: 'p50, ms', digits: 3 },
        { name: 'p99', label: 'p99, ms', digits: 3 },
        { name: 'max', label: 'max, ms', digits: 1 },
        { name: 'redisBusy', label: "% of Redis's core", digits: 1 },
        { name: 'hits', label: '% from memory', digits: 0 },
        { name: 'errors', label: 'errors', digits: 0 },
        { name: 'perSecond', label: 'checks/s', digits: 0 },
      ],
      samples,
      targets: [
        ...ASKING.map((call) =>
          judge(samples, { metric: 'redisBusy', ours: rowOf(call, MOST), theirs: rowOf(call, ONE), atMost: 1.5 }),
        ),
        ...CALLS.map((call) => judgeValue(samples, { metric: 'errors', of: rowOf(call, MOST), atMost: 0 })),
      ],
      notes: [
        `Maximal hash: ${MAX_SESSIONS} live sessions with attributes of ${MAX_ATTRIBUTE_LENGTH} characters each and ` +
          `${DATA_BYTES.toLocaleString('en')} bytes of data, and ${MAX_REMEMBERED} ended ones with a message of ` +
          `${MESSAGE_LENGTH} characters; ${Math.round(bytes / 2 ** 20)} MiB of Redis. ` +
          'The process watches all its sessions.',
        'Each check is of a random session of the user. A wait is from the call to its answer, in a process that ' +
          'makes calls at a constant rate, whether earlier ones have been answered or not.',
        'Cached: a burst finds all sessions too old in the cache, and so asks Redis once for each.',
      ],
    };
  } finally {
    await Promise.all(children.map((child) => child.stop()));
    await redis.stop();
  }
}

/** Fills a user's hash to the limits. Returns the live tokens. */
async function signInMost(url: string): Promise<string[]> {
  const manager = managerOn(url, { maxSessions: MAX_SESSIONS }, PATIENT_MS);
  try {
    const userId = 'hot user';
    for (let count = 0; count < MAX_REMEMBERED; count++) await manager.setToken(userId);
    await manager.deleteUserToken(userId, { message: 'x'.repeat(MESSAGE_LENGTH) });
    const text = 'x'.repeat(MAX_ATTRIBUTE_LENGTH);
    const attributes = { device: text, ip: text, userAgent: text };
    const tokens: string[] = [];
    for (let count = 0; count < MAX_SESSIONS; count++) {
      const token = await manager.setToken(userId, undefined, attributes);
      await storeData(manager, token, DATA_BYTES);
      tokens.push(token);
    }
    const { length } = await manager.listUserToken(userId);
    if (length !== MAX_SESSIONS) throw new Error(`the user has ${length} sessions`);
    return tokens;
  } finally {
    await manager.close();
  }
}

async function signInOnce(url: string): Promise<string> {
  const manager = managerOn(url, { maxSessions: MAX_SESSIONS }, PATIENT_MS);
  try {
    return await manager.setToken('user with one session');
  } finally {
    await manager.close();
  }
}

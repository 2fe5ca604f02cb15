import { type RedisServer, startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { managerOn } from './contestants';
import type { Login, Question, Storm } from './login-storm-service';
import { type CpuPlan, pin } from './machine';
import { monotonicMs } from './monotonic';
import { quantile } from './quantile';
import { judgeValue, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

const LOGINS = 20_000;
const QUICK_LOGINS = 2000;
/** For the look after a storm. */
const TIMEOUT_MS = 30_000;
const LOOKS_AT_A_TIME = 400;
/** Time for all processes to get the question. */
const START_IN_MS = 300;

interface Scenario {
  processes: number;
  timeoutMs: number;
}

const DEFAULT = '4 processes';
const PATIENT = '4 processes, timeoutMs 10,000';
const ONE_PROCESS = '1 process';

const SCENARIOS: Record<string, Scenario> = {
  [DEFAULT]: { processes: 4, timeoutMs: 1000 },
  [PATIENT]: { processes: 4, timeoutMs: 10_000 },
  [ONE_PROCESS]: { processes: 1, timeoutMs: 1000 },
};

/** Many logins at the same moment in several processes: each settles, and Redis has exactly those that succeeded. */
export async function benchLoginStorm({ isQuick, rounds }: Effort, cpus: CpuPlan): Promise<Part> {
  const logins = isQuick ? QUICK_LOGINS : LOGINS;
  const samples = await interleave(Object.keys(SCENARIOS), { rounds, warmUps: 0 }, (name) =>
    measure(SCENARIOS[name] as Scenario, logins, cpus),
  );
  const all = Object.keys(SCENARIOS);
  return {
    title: `A login storm: ${logins.toLocaleString('en')} logins at once`,
    metrics: [
      { name: 'p50', label: 'p50, ms', digits: 0 },
      { name: 'max', label: 'worst, ms', digits: 0 },
      { name: 'callingMs', label: 'calling, ms', digits: 0 },
      { name: 'stored', label: 'stored', digits: 0 },
      { name: 'refused', label: '503, not sent', digits: 0 },
      { name: 'timedOut', label: '503, no answer in time', digits: 0 },
      { name: 'lost', label: 'lost', digits: 0 },
      { name: 'stray', label: 'failed, but stored', digits: 0 },
      { name: 'peakMiB', label: 'peak RSS, MiB', digits: 0 },
      { name: 'growthMiB', label: 'over idle, MiB', digits: 0 },
    ],
    samples,
    targets: [
      ...all.map((of) => judgeValue(samples, { metric: 'lost', of, atMost: 0 })),
      ...all.map((of) => judgeValue(samples, { metric: 'stray', of, atMost: 0 })),
      judgeValue(samples, { metric: 'stored', of: PATIENT, atLeast: logins }),
      judgeValue(samples, { metric: 'growthMiB', of: DEFAULT, atMost: 100 }),
    ],
    notes: [
      'Each process calls setToken for all its users, 100 in each turn of its event loop, from the same moment as ' +
        'the others. A wait is from that moment to the outcome, stored or failed. Calling: until the slowest process ' +
        'had made all calls. timeoutMs is 1,000, the default, unless named.',
      'Not sent: ERR_STORE_UNAVAILABLE, refused where too many calls wait, or where they have waited too long. ' +
        'No answer in time: ERR_STORE_TIMEOUT. Any other outcome fails the bench.',
      'After each storm another process reads the sessions of every user. Lost: reported as stored, and not in Redis.',
      'RSS is the peak of the largest process, and idle what it had before the storm. Each round has new processes, ' +
        'which have signed other users in before.',
    ],
  };
}

async function measure({ processes, timeoutMs }: Scenario, logins: number, cpus: CpuPlan): Promise<Sample> {
  const redis = await startRedis();
  pin(redis.pid, cpus.redis);
  const children: Child[] = [];
  try {
    for (let index = 0; index < processes; index++) {
      const cpu = index % 2 === 0 ? cpus.measured : cpus.load;
      children.push(await Child.start('login-storm-service.ts', [redis.url, String(timeoutMs)], cpu));
    }
    const each = logins / processes;
    const startAt = monotonicMs() + START_IN_MS;
    const storms = await Promise.all(
      children.map((child, index) => {
        const question: Question = { prefix: `user-${index}-`, logins: each, startAt };
        return child.ask<Storm>(question);
      }),
    );
    const outcomes = storms.flatMap(({ logins }) => logins);
    if (outcomes.length !== logins) throw new Error(`${outcomes.length} of ${logins} logins have settled`);
    const waits = outcomes.map(({ ms }) => ms);
    const countOf = (outcome: Login['outcome']) => outcomes.filter((login) => login.outcome === outcome).length;
    return {
      p50: quantile(waits, 0.5),
      max: Math.max(...waits),
      callingMs: Math.max(...storms.map(({ callingMs }) => callingMs)),
      stored: countOf('stored'),
      refused: countOf('refused'),
      timedOut: countOf('timed out'),
      ...(await lookFor(redis, outcomes)),
      peakMiB: Math.max(...storms.map(({ peakMiB }) => peakMiB)),
      growthMiB: Math.max(...storms.map(({ peakMiB, idleMiB }) => peakMiB - idleMiB)),
    };
  } finally {
    await Promise.all(children.map((child) => child.stop()));
    await redis.stop();
  }
}

/** Compares what was reported with what is in Redis. */
async function lookFor(redis: RedisServer, outcomes: readonly Login[]): Promise<{ lost: number; stray: number }> {
  const manager = managerOn(redis.url, {}, TIMEOUT_MS);
  const found = { lost: 0, stray: 0 };
  const waiting = outcomes.values();
  const look = async () => {
    for (const { userId, outcome, token } of waiting) {
      const tokens = await manager.listUserToken(userId);
      if (outcome === 'stored' ? !tokens.includes(token as string) : tokens.length > 0) {
        found[outcome === 'stored' ? 'lost' : 'stray']++;
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: LOOKS_AT_A_TIME }, look));
    return found;
  } finally {
    await manager.close();
  }
}

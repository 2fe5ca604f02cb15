/*
 * One of several services with near caches: `fleet-service.ts <Redis URL>`. It checks random live sessions at a constant
 * rate. Beside that, it uses some sessions around their kicks, again and again, until they are refused.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisStore, TokenManager } from 'tokensession';
import { answerQuestions } from './child';
import { PATIENT_MS, SECRET } from './contestants';
import { type FleetPlan, kicksDue, kickTime } from './fleet-plan';
import { monotonicMs } from './monotonic';
import { callAtRate, type Paced } from './paced';

/** Requests before the run, which fill the cache. */
const WARM_UP_MS = 2000;
/** When the use of a session begins that will be kicked. */
const BEFORE_KICK_MS = 30;
/** The shortest timer in Node. */
const USE_EVERY_MS = 1;
/** A session must have been refused so long after its kick. */
const GIVE_UP_MS = 30_000;

export interface Question {
  plan: FleetPlan;
  /** Requests of this process. */
  perSecond: number;
  /** The kicks to look at closely. */
  watched: number[];
}

export interface Run extends Paced {
  /** Answers from memory and from Redis. */
  hits: number;
  misses: number;
  /** When the last check began that accepted the session, of each watched kick; `null` when none has. */
  acceptedAt: (number | null)[];
}

function main([url = '']: string[]): void {
  const store = new RedisStore(url, { timeoutMs: PATIENT_MS });
  const manager = new TokenManager({ store, secret: SECRET, cache: true });
  // With a cache and counts of its own, on the same connections.
  const watcher = new TokenManager({ store, secret: SECRET, cache: true });

  answerQuestions(async (given): Promise<Run> => {
    const { plan, perSecond, watched } = given as Question;
    const request = async () => {
      const place = kicksDue(plan) + randomInt(plan.live);
      const session = await manager.touchToken(plan.tokens[place] as string);
      // Kicked while the request was on its way.
      return session !== null || place < kicksDue(plan);
    };
    await sleep(Math.max(0, plan.startAt - monotonicMs() - WARM_UP_MS));
    await callAtRate({ perSecond, durationMs: plan.startAt - monotonicMs() }, request);
    const watching = Promise.all(watched.map((kick) => useUntilRefused(watcher, plan, kick)));
    const before = statsOf(manager);
    const paced = await callAtRate({ perSecond, durationMs: plan.durationMs }, request);
    const after = statsOf(manager);
    return {
      ...paced,
      hits: after.hits - before.hits,
      misses: after.misses - before.misses,
      acceptedAt: await watching,
    };
  });
}

/** Returns when the last check began that accepted the session. */
async function useUntilRefused(manager: TokenManager, plan: FleetPlan, kick: number): Promise<number | null> {
  const token = plan.tokens[kick] as string;
  const kickAt = kickTime(plan, kick);
  await sleep(Math.max(0, kickAt - BEFORE_KICK_MS - monotonicMs()));
  let acceptedAt: number | null = null;
  for (;;) {
    const begunAt = monotonicMs();
    // A call that failed is no answer.
    const session = await manager.touchToken(token).catch(() => undefined);
    if (session === null) return acceptedAt;
    if (session !== undefined) acceptedAt = begunAt;
    if (begunAt > kickAt + GIVE_UP_MS) throw new Error('a kicked session is still not refused');
    await sleep(USE_EVERY_MS);
  }
}

function statsOf({ cacheStats }: TokenManager): { hits: number; misses: number } {
  if (cacheStats === null) throw new Error('there is no cache');
  return cacheStats;
}

main(process.argv.slice(2));

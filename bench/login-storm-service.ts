/* A process that signs many users in at once: `login-storm-service.ts <Redis URL> <timeoutMs>`. */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { SessionError, type TokenManager } from 'tokensession';
import { answerQuestions } from './child';
import { managerOn } from './contestants';
import { monotonicMs } from './monotonic';

/** Logins of other users beforehand: V8 has compiled what a service runs. */
const WARM_UPS = 2000;
const WARM_UPS_AT_A_TIME = 50;
/** A server, too, reads further requests only after its event loop has turned. */
const CALLS_A_TURN = 100;
const BYTES_PER_MIB = 2 ** 20;
const KIB_PER_MIB = 2 ** 10;

export interface Question {
  /** What the user ids begin with. */
  prefix: string;
  logins: number;
  /** When to begin, by `monotonicMs`. */
  startAt: number;
}

export interface Login {
  userId: string;
  outcome: 'stored' | 'refused' | 'timed out';
  /** Of a stored one. */
  token: string | null;
  ms: number;
}

export interface Storm {
  logins: Login[];
  /** Milliseconds until all were called. */
  callingMs: number;
  idleMiB: number;
  /** The largest resident set of the process since it began. */
  peakMiB: number;
}

async function main([url = '', timeoutMs = '']: string[]): Promise<void> {
  const manager = managerOn(url, {}, Number(timeoutMs));
  // Waits for the connection.
  await manager.health();
  for (let first = 0; first < WARM_UPS; first += WARM_UPS_AT_A_TIME) {
    const users = Array.from({ length: WARM_UPS_AT_A_TIME }, (_, index) => `warm-up-${process.pid}-${first + index}`);
    await Promise.all(users.map((userId) => logIn(manager, userId)));
  }
  answerQuestions(async (given): Promise<Storm> => {
    const { prefix, logins, startAt } = given as Question;
    await sleep(Math.max(0, startAt - monotonicMs()));
    const idleMiB = process.memoryUsage().rss / BYTES_PER_MIB;
    const began = performance.now();
    const call = async (userId: string): Promise<Login> => {
      const [outcome, token] = await logIn(manager, userId);
      return { userId, outcome, token, ms: performance.now() - began };
    };
    const calls: Promise<Login>[] = [];
    while (calls.length < logins) {
      calls.push(call(`${prefix}${calls.length}`));
      if (calls.length % CALLS_A_TURN === 0) await nextTurn();
    }
    const callingMs = performance.now() - began;
    return {
      logins: await Promise.all(calls),
      callingMs,
      idleMiB,
      peakMiB: process.resourceUsage().maxRSS / KIB_PER_MIB,
    };
  });
}

async function logIn(manager: TokenManager, userId: string): Promise<[Login['outcome'], string | null]> {
  try {
    return ['stored', await manager.setToken(userId)];
  } catch (error) {
    if (error instanceof SessionError && error.code === 'ERR_STORE_UNAVAILABLE') return ['refused', null];
    if (error instanceof SessionError && error.code === 'ERR_STORE_TIMEOUT') return ['timed out', null];
    throw error;
  }
}

main(process.argv.slice(2));

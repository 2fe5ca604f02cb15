/* A process that signs many users in at once: `login-storm-service.ts <Redis URL> <timeoutMs>`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import { answerQuestions } from './child';

const SECRET = 'a secret that is long enough to be one';
const BYTES_PER_MIB = 2 ** 20;
const KIB_PER_MIB = 2 ** 10;

export interface Question {
  /** What the user ids begin with. */
  prefix: string;
  logins: number;
  startInMs: number;
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
  idleMiB: number;
  /** The largest resident set of the process since it began. */
  peakMiB: number;
}

async function main([url = '', timeoutMs = '']: string[]): Promise<void> {
  const manager = new TokenManager({ store: new RedisStore(url, { timeoutMs: Number(timeoutMs) }), secret: SECRET });
  // Waits for the connection.
  await manager.health();
  answerQuestions(async (given): Promise<Storm> => {
    const { prefix, logins, startInMs } = given as Question;
    await sleep(startInMs);
    const idleMiB = process.memoryUsage().rss / BYTES_PER_MIB;
    const began = performance.now();
    const outcomes = await Promise.all(
      Array.from({ length: logins }, async (_, index): Promise<Login> => {
        const userId = `${prefix}${index}`;
        const [outcome, token] = await logIn(manager, userId);
        return { userId, outcome, token, ms: performance.now() - began };
      }),
    );
    return { logins: outcomes, idleMiB, peakMiB: process.resourceUsage().maxRSS / KIB_PER_MIB };
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

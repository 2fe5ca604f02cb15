/*
 * A service whose requests are those of one user: `hot-user-service.ts <Redis URL> <call>`. It watches the user's
 * sessions, and then checks random ones at a constant rate.
 */
import { randomInt } from 'node:crypto';
import type { TokenManager } from 'tokensession';
import { answerQuestions } from './child';
import { contestantNamed, managerOn, PATIENT_MS } from './contestants';
import { callAtRate, type Pace, type Paced } from './paced';

export type Question = { task: 'watch'; tokens: string[] } | { task: 'check'; tokens: string[]; pace: Pace };

export interface Checks extends Paced {
  /** Percent of the checks that were answered from memory; absent without a cache. */
  hits?: number;
}

type Check = (manager: TokenManager, token: string) => Promise<unknown>;

const CALLS: Record<string, { cache: boolean; check: Check }> = {
  checkToken: { cache: false, check: (manager, token) => manager.checkToken(token) },
  touchToken: { cache: false, check: (manager, token) => manager.touchToken(token) },
  'touchToken, cached': { cache: true, check: (manager, token) => manager.touchToken(token) },
};

function main([url = '', call = '']: string[]): void {
  const { cache, check } = contestantNamed(call, CALLS);
  const manager = managerOn(url, { cache }, PATIENT_MS);
  let watched: AbortSignal[] = [];

  answerQuestions(async (given): Promise<Checks | null> => {
    const question = given as Question;
    const { tokens } = question;
    if (question.task === 'watch') {
      watched = tokens.map((token) => manager.watch(token));
      return null;
    }
    const before = manager.cacheStats;
    const paced = await callAtRate(
      question.pace,
      async () => (await check(manager, tokens[randomInt(tokens.length)] as string)) !== null,
    );
    if (watched.some((signal) => signal.aborted)) throw new Error('a watched session has ended');
    const after = manager.cacheStats;
    if (before === null || after === null) return paced;
    return { ...paced, hits: (100 * (after.hits - before.hits)) / paced.calls };
  });
}

main(process.argv.slice(2));

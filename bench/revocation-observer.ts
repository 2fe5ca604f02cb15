/*
 * A process that checks tokens: `revocation-observer.ts <Redis URL> <cache option as JSON>`. It reports whether a token
 * is live, or watches one until it is refused.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { answerQuestions } from './child';
import { managerOn } from './contestants';
import { monotonicMs } from './monotonic';

/** The shortest timer in Node. */
const LOOK_EVERY_MS = 1;
/** So long that a busy machine shows in the times, and fails nothing. */
const TIMEOUT_MS = 5000;

export type Question = { task: 'check' | 'watch'; token: string };

/** Times are those of a clock that all processes share. */
export interface Refusal {
  /** When the first answer arrived that refused the token. */
  at: number;
  /** When the last check began that accepted it; `null` when none has. */
  lastAcceptedAt: number | null;
}

const inputListeners = new Set<() => void>();

/** Calls back after each turn of the event loop that has received data from Redis. */
function listenToInput(): void {
  subscribe('net.client.socket', (message) => {
    (message as { socket: Socket }).socket.on('data', () => {
      for (const listener of inputListeners) setImmediate(listener);
    });
  });
}

function main([url = '', cacheText = '']: string[]): void {
  const cache = JSON.parse(cacheText);
  // Without a cache Redis answers each check, which would cause the next one at once.
  if (cache !== false) listenToInput();
  const sessions = managerOn(url, { cache }, TIMEOUT_MS);

  /**
   * Checks each millisecond, and after each message from Redis: no observer waits for the CPU while others only check.
   */
  const watch = (token: string) =>
    new Promise<Refusal>((resolve, reject) => {
      let lastAcceptedAt: number | null = null;
      let isLooking = false;
      const look = async () => {
        if (isLooking) return;
        isLooking = true;
        const begunAt = monotonicMs();
        const session = await sessions.checkToken(token);
        const at = monotonicMs();
        if (session !== null) {
          lastAcceptedAt = begunAt;
          isLooking = false;
          return;
        }
        // A check that is due already is still running.
        clearInterval(timer);
        inputListeners.delete(lookAgain);
        resolve({ at, lastAcceptedAt });
      };
      const lookAgain = () => void look().catch(reject);
      const timer = setInterval(lookAgain, LOOK_EVERY_MS);
      inputListeners.add(lookAgain);
      lookAgain();
    });

  answerQuestions(async (question) => {
    const { task, token } = question as Question;
    return task === 'watch' ? watch(token) : (await sessions.checkToken(token)) !== null;
  });
}

main(process.argv.slice(2));

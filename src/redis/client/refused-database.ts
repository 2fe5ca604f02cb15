import type { Redis } from 'ioredis';
import { isConnectionLoss, isRefusedDatabase } from './errors';

type Listener = (error: unknown) => void;

/** The used part of ioredis's clients: their way to report errors without listeners. */
interface Reporting {
  silentEmit(event: string, argument: unknown): boolean;
}

const listeners = new WeakMap<Redis, Listener>();

/**
 * Leaves each connection on which Redis refuses the configured database. ioredis reports the refusal and goes on in
 * database 0, perhaps among the sessions of another application.
 *
 * @param onRefused is called first, with Redis's error. Replaces an earlier one. Default: none.
 */
export function leaveRefusedDatabase(redis: Redis, onRefused: Listener = () => {}): void {
  const isWatched = listeners.has(redis);
  listeners.set(redis, onRefused);
  if (isWatched) return;
  const reporting = redis as unknown as Reporting;
  reportSelections(redis, reporting);
  const silentEmit = reporting.silentEmit.bind(redis);
  reporting.silentEmit = (event, argument) => {
    if (event === 'error' && isRefusedDatabase(argument)) {
      listeners.get(redis)?.(argument);
      redis.disconnect(true);
    }
    return silentEmit(event, argument);
  };
}

/**
 * Reports refusals of SELECT on a ready connection. ioredis selects the last database again after it has reconnected,
 * and drops the promise: a refusal, or a connection that breaks then, causes an unhandled rejection.
 */
function reportSelections(redis: Redis, reporting: Reporting): void {
  const select = redis.select.bind(redis) as (...args: unknown[]) => Promise<unknown>;
  const reported = (...args: unknown[]) => {
    const answer = select(...args);
    // ioredis itself reports refusals in the handshake.
    const isReady = redis.status === 'ready';
    answer.catch((error: unknown) => {
      if (isReady && !isConnectionLoss(error)) reporting.silentEmit('error', error);
    });
    return answer;
  };
  redis.select = reported as Redis['select'];
}

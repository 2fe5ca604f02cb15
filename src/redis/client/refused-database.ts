import type { Redis } from 'ioredis';
import { isRefusedDatabase } from './errors';

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
  const silentEmit = reporting.silentEmit.bind(redis);
  reporting.silentEmit = (event, argument) => {
    if (event === 'error' && isRefusedDatabase(argument)) {
      listeners.get(redis)?.(argument);
      redis.disconnect(true);
    }
    return silentEmit(event, argument);
  };
}

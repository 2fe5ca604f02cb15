import type { Redis } from 'ioredis';
import { isRefusedDatabase } from './errors';

type Listener = (error: unknown) => void;

/** What is used of ioredis's clients: its own way to report errors, also to a client without listeners. */
interface Reporting {
  silentEmit(event: string, argument: unknown): boolean;
}

const listeners = new WeakMap<Redis, Listener>();

/**
 * Leaves each connection on which Redis refuses the client its database. ioredis reports that and goes on in database
 * 0, among another application's sessions.
 *
 * @param onRefused is called with Redis's error first. Takes the place of an earlier one. Default: none.
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

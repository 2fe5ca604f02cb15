import { isUnavailable, isUnconfirmed, type SessionError } from '../errors/session-error';
import { interceptStore } from './intercepted-store';
import type { Store } from './store';

/**
 * Milliseconds without a failure after which an answer counts as recovery: when a Cluster loses a node, other nodes
 * still answer.
 */
const QUIET_MS = 1000;

/** Follows when a store fails to answer, and when it answers again. */
interface AvailabilityWatcher {
  down(error: SessionError): void;
  up(): void;
}

/** Wraps a store. Reports its first failure to serve, and its recovery, to the watcher, until it is closed. */
export function watchAvailability(store: Store, watcher: AvailabilityWatcher): Store {
  let failedAt: number | null = null;
  let isClosed = false;
  const answered = () => {
    if (failedAt === null || performance.now() - failedAt < QUIET_MS) return;
    failedAt = null;
    watcher.up();
  };
  const failed = (error: unknown) => {
    if (isClosed) return;
    if (!isUnavailable(error) || isUnconfirmed(error)) return answered();
    const isFirst = failedAt === null;
    failedAt = performance.now();
    if (isFirst) watcher.down(error);
  };
  const watched = interceptStore(store, (call) => {
    const reply = call();
    reply.then(answered, failed);
    return reply;
  });
  const close = () => {
    isClosed = true;
    return store.close();
  };
  return { ...watched, close };
}

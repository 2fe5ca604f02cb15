import { isUnavailable, isUnconfirmed, type SessionError } from '../errors/session-error';
import { type Store, VERBS, type Verb } from './store';

/**
 * Milliseconds without a failure after which an answer counts as recovery: when a Cluster loses a node, other nodes
 * still answer.
 */
const QUIET_MS = 1000;

/** Follows the calls to a store. */
interface StoreObserver {
  /** The first call that the store fails to serve. */
  down(error: SessionError): void;
  /** The store answers again. */
  up(): void;
  /**
   * Runs before each call that may change what a near cache holds, and again after it, because a failed call may have
   * been carried out. The announcement of the change comes later. `null`: there is no near cache.
   */
  changed: ((tag: string) => void) | null;
}

type Method = (tag: string, ...args: unknown[]) => Promise<unknown>;

/** Wraps a store, and reports its calls to the observer until the store is closed. */
export function observeStore(store: Store, { down, up, changed }: StoreObserver): Store {
  let failedAt: number | null = null;
  let isClosed = false;
  const answered = () => {
    if (failedAt === null || performance.now() - failedAt < QUIET_MS) return;
    failedAt = null;
    up();
  };
  const failed = (error: unknown) => {
    if (isClosed) return;
    if (!isUnavailable(error) || isUnconfirmed(error)) return answered();
    const isFirst = failedAt === null;
    failedAt = performance.now();
    if (isFirst) down(error);
  };
  const observed = (verb: Verb): Method => {
    const call: Method = (tag, ...args) => {
      // Looked up at each call, because a test or a monitor may replace the store's methods.
      const reply = (store[verb] as Method)(tag, ...args);
      reply.then(answered, failed);
      return reply;
    };
    if (changed === null || !VERBS[verb]) return call;
    return (tag, ...args) => {
      changed(tag);
      return call(tag, ...args).finally(() => changed(tag));
    };
  };
  return {
    ...(Object.fromEntries(Object.keys(VERBS).map((verb) => [verb, observed(verb as Verb)])) as Pick<Store, Verb>),
    ...(store.follow && { follow: store.follow.bind(store) }),
    ...(store.tags && { tags: store.tags.bind(store) }),
    health: () => store.health(),
    close: () => {
      isClosed = true;
      return store.close();
    },
  };
}

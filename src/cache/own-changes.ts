import { type Interceptor, interceptStore } from '../store/intercepted-store';
import { type Store, VERBS } from '../store/store';
import type { NearCache } from './near-cache';

/**
 * Wraps a store so that it reports its own changes to the near cache at once, without waiting for the announcement. It
 * reports each before the call and again after it, because a failed call may have been carried out.
 */
export function reportingOwnChanges(store: Store, cache: NearCache): Store {
  const intercept: Interceptor = (call, verb, tag) => {
    if (!VERBS[verb]) return call();
    cache.changed(tag);
    return call().finally(() => cache.changed(tag));
  };
  return interceptStore(store, intercept);
}

import { type Interceptor, interceptStore, type Verb } from '../store/intercepted-store';
import type { NearCache } from './near-cache';
import type { Store } from '../store/store';

/** Which of a store's methods change what a near cache may have kept of the user. */
const CHANGES: Record<Verb, boolean> = {
  create: true,
  check: false,
  touch: false,
  refresh: true,
  reauthenticate: true,
  rotate: true,
  unrotate: true,
  end: true,
  endAll: true,
  ban: true,
  unban: false,
  getBan: false,
  list: false,
  setUserInfo: true,
  deleteUserInfo: true,
};

/**
 * The same store, of whose changes through this process the near cache knows before whoever asked for them: they needn't wait for the announcement.
 * From the beginning, and again in the end: one that fails may have been carried out.
 */
export function tellingOwnChanges(store: Store, cache: NearCache): Store {
  const intercept: Interceptor = (call, verb, tag) => {
    if (!CHANGES[verb]) return call();
    cache.changed(tag);
    return call().finally(() => cache.changed(tag));
  };
  return interceptStore(store, intercept);
}

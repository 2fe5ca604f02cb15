import type { Store } from 'tokensession';
import { wrapStore } from './wrapped-store';

/** A store, and the names of its calls, in order. */
export function countedStore(store: Store): { store: Store; calls: string[] } {
  const calls: string[] = [];
  const counted = wrapStore(store, (method, call) => {
    calls.push(method);
    return call();
  });
  return { store: counted, calls };
}

import { type Store, VERBS, type Verb } from './store';

/** Runs around a call to the store: gives the call's result, and may act before and after it. */
export type Interceptor = <Reply>(call: () => Promise<Reply>, verb: Verb, tag: string) => Promise<Reply>;

type Method = (tag: string, ...args: unknown[]) => Promise<unknown>;

/** Wraps a store, with an interceptor around each method about one user. */
export function interceptStore(store: Store, intercept: Interceptor): Store {
  const verbs = (Object.keys(VERBS) as Verb[]).map((verb) => {
    // Looked up at each call, because a test or a monitor may replace the store's methods.
    const method = (tag: string, ...args: unknown[]) =>
      intercept(() => (store[verb] as Method).call(store, tag, ...args), verb, tag);
    return [verb, method];
  });
  return { ...Object.fromEntries(verbs), health: () => store.health(), close: () => store.close() };
}

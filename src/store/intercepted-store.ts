import { type Store, VERBS, type Verb } from './store';

/** Stands between a caller and the store: gives what the call gives, and may do something before and after it. */
export type Interceptor = <Reply>(call: () => Promise<Reply>, verb: Verb, tag: string) => Promise<Reply>;

type Method = (tag: string, ...args: unknown[]) => Promise<unknown>;

/** The same store, with an interceptor around each method that is about one user. */
export function interceptStore(store: Store, intercept: Interceptor): Store {
  const verbs = (Object.keys(VERBS) as Verb[]).map((verb) => {
    // Looked up at each call: the store may be one whose methods are replaced, by a test or a monitor.
    const call = (tag: string, args: unknown[]) => (store[verb] as Method).call(store, tag, ...args);
    return [verb, (tag: string, ...args: unknown[]) => intercept(() => call(tag, args), verb, tag)];
  });
  return { ...Object.fromEntries(verbs), health: () => store.health(), close: () => store.close() };
}

import { type Store, VERBS, type Verb } from './store';

/** Stands between a caller and the store: gives what the call gives, and may do something before and after it. */
export type Interceptor = <Reply>(call: () => Promise<Reply>, verb: Verb, tag: string) => Promise<Reply>;

/** The same store, with an interceptor around each method that is about one user. */
export function interceptStore(store: Store, intercept: Interceptor): Store {
  const verbs = (Object.keys(VERBS) as Verb[]).map((verb) => {
    const method = store[verb].bind(store) as (tag: string, ...args: unknown[]) => Promise<unknown>;
    return [verb, (tag: string, ...args: unknown[]) => intercept(() => method(tag, ...args), verb, tag)];
  });
  return { ...Object.fromEntries(verbs), health: () => store.health(), close: () => store.close() };
}

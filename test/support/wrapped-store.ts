import type { Store } from 'tokensession';

/** A store with a function around each call of a method. */
export function wrapStore(store: Store, around: (method: string, call: () => unknown) => unknown): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => around(String(name), () => member.apply(target, args));
    },
  });
}

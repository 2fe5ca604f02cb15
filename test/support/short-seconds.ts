import type { ReusePolicy, Store } from 'tokensession';

/** The same store with a shorter second, so that tests can wait for a manager's shortest durations. */
export function shortSeconds(store: Store, msPerSecond: number): Store {
  const short = (ms: number) => (ms * msPerSecond) / 1000;
  const shortGrace = (policy: ReusePolicy) => ({ ...policy, graceMs: short(policy.graceMs) });
  const verbs: Partial<Store> = {
    create: (tag, session) => {
      const { ttlMs, absoluteTtlMs } = session;
      return store.create(tag, { ...session, ttlMs: short(ttlMs), absoluteTtlMs: short(absoluteTtlMs) });
    },
    check: (tag, claims, policy) => store.check(tag, claims, shortGrace(policy)),
    touch: (tag, claims, policy, slideEveryMs) => store.touch(tag, claims, shortGrace(policy), short(slideEveryMs)),
    touchWithData: (tag, claims, policy, slideEveryMs) =>
      store.touchWithData(tag, claims, shortGrace(policy), short(slideEveryMs)),
    readData: (tag, claims, policy, keys) => store.readData(tag, claims, shortGrace(policy), keys),
    writeData: (tag, claims, policy, change, limits) =>
      store.writeData(tag, claims, shortGrace(policy), change, limits),
    takeData: (tag, claims, policy, key) => store.takeData(tag, claims, shortGrace(policy), key),
    addToData: (tag, claims, policy, addition, limits) =>
      store.addToData(tag, claims, shortGrace(policy), addition, limits),
    clearData: (tag, claims, policy) => store.clearData(tag, claims, shortGrace(policy)),
    refresh: (tag, claims, policy, ttlMs) =>
      store.refresh(tag, claims, shortGrace(policy), ttlMs === null ? null : short(ttlMs)),
    ban: (tag, { durationMs, ...ban }) =>
      store.ban(tag, { ...ban, durationMs: durationMs === null ? null : short(durationMs) }),
    setUserInfo: (tag, userInfo, ttlMs, version) => store.setUserInfo(tag, userInfo, short(ttlMs), version),
  };
  return new Proxy(store, {
    get(target, name) {
      if (Object.hasOwn(verbs, name)) return Reflect.get(verbs, name);
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

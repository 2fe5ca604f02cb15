import type { ReusePolicy, Store } from 'tokensession';

/** The same store with seconds of another length: a manager's durations are whole seconds. */
export function scaleSeconds(store: Store, msPerSecond: number): Store {
  const scaled = (ms: number) => (ms * msPerSecond) / 1000;
  const scaledGrace = (policy: ReusePolicy) => ({ ...policy, graceMs: scaled(policy.graceMs) });
  const verbs: Partial<Store> = {
    create: (tag, session) => {
      const { ttlMs, absoluteTtlMs } = session;
      return store.create(tag, { ...session, ttlMs: scaled(ttlMs), absoluteTtlMs: scaled(absoluteTtlMs) });
    },
    check: (tag, claims, policy) => store.check(tag, claims, scaledGrace(policy)),
    touch: (tag, claims, policy, slideEveryMs) => store.touch(tag, claims, scaledGrace(policy), scaled(slideEveryMs)),
    touchWithData: (tag, claims, policy, slideEveryMs) =>
      store.touchWithData(tag, claims, scaledGrace(policy), scaled(slideEveryMs)),
    readData: (tag, claims, policy, keys) => store.readData(tag, claims, scaledGrace(policy), keys),
    writeData: (tag, claims, policy, change, limits) =>
      store.writeData(tag, claims, scaledGrace(policy), change, limits),
    takeData: (tag, claims, policy, key) => store.takeData(tag, claims, scaledGrace(policy), key),
    addToData: (tag, claims, policy, addition, limits) =>
      store.addToData(tag, claims, scaledGrace(policy), addition, limits),
    clearData: (tag, claims, policy) => store.clearData(tag, claims, scaledGrace(policy)),
    refresh: (tag, claims, policy, ttlMs) =>
      store.refresh(tag, claims, scaledGrace(policy), ttlMs === null ? null : scaled(ttlMs)),
    ban: (tag, { durationMs, ...ban }) =>
      store.ban(tag, { ...ban, durationMs: durationMs === null ? null : scaled(durationMs) }),
    setUserInfo: (tag, userInfo, ttlMs, version) => store.setUserInfo(tag, userInfo, scaled(ttlMs), version),
  };
  return new Proxy(store, {
    get(target, name) {
      if (Object.hasOwn(verbs, name)) return Reflect.get(verbs, name);
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

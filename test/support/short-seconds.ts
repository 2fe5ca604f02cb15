import type { Store } from 'tokensession';

/** The same store, where a second lasts that many milliseconds: a manager's shortest durations end while a test can wait for it. */
export function shortSeconds(store: Store, msPerSecond: number): Store {
  const short = (ms: number) => (ms * msPerSecond) / 1000;
  const verbs: Partial<Store> = {
    create: (tag, session) => {
      const { ttlMs, absoluteTtlMs } = session;
      return store.create(tag, { ...session, ttlMs: short(ttlMs), absoluteTtlMs: short(absoluteTtlMs) });
    },
    touch: (tag, sid, slideEveryMs) => store.touch(tag, sid, short(slideEveryMs)),
    refresh: (tag, sid, ttlMs) => store.refresh(tag, sid, ttlMs === null ? null : short(ttlMs)),
    rotate: (tag, sid, rotation) => store.rotate(tag, sid, { ...rotation, graceMs: short(rotation.graceMs) }),
    ban: (tag, { durationMs, ...ban }) =>
      store.ban(tag, { ...ban, durationMs: durationMs === null ? null : short(durationMs) }),
    setUserInfo: (tag, userInfo, ttlMs) => store.setUserInfo(tag, userInfo, short(ttlMs)),
  };
  return new Proxy(store, {
    get(target, name) {
      if (Object.hasOwn(verbs, name)) return Reflect.get(verbs, name);
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

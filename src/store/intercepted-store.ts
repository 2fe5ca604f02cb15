import type { Store } from './store';

/** The methods that ask or change something of one user. */
export type Verb = Exclude<keyof Store, 'follow' | 'health' | 'close'>;

/** Stands between a caller and the store: gives what the call gives, and may do something before and after it. */
export type Interceptor = <Reply>(call: () => Promise<Reply>, verb: Verb, tag: string) => Promise<Reply>;

/** The same store, with an interceptor around each method that is about one user. */
export function interceptStore(store: Store, intercept: Interceptor): Store {
  return {
    create: (tag, session) => intercept(() => store.create(tag, session), 'create', tag),
    check: (tag, sid, options) => intercept(() => store.check(tag, sid, options), 'check', tag),
    touch: (tag, sid, everyMs, options) => intercept(() => store.touch(tag, sid, everyMs, options), 'touch', tag),
    refresh: (tag, sid, ttlMs) => intercept(() => store.refresh(tag, sid, ttlMs), 'refresh', tag),
    reauthenticate: (tag, sid) => intercept(() => store.reauthenticate(tag, sid), 'reauthenticate', tag),
    rotate: (tag, sid, rotation) => intercept(() => store.rotate(tag, sid, rotation), 'rotate', tag),
    unrotate: (tag, sid, newSid) => intercept(() => store.unrotate(tag, sid, newSid), 'unrotate', tag),
    end: (tag, sid, why) => intercept(() => store.end(tag, sid, why), 'end', tag),
    endAll: (tag, options) => intercept(() => store.endAll(tag, options), 'endAll', tag),
    ban: (tag, ban) => intercept(() => store.ban(tag, ban), 'ban', tag),
    unban: (tag) => intercept(() => store.unban(tag), 'unban', tag),
    getBan: (tag) => intercept(() => store.getBan(tag), 'getBan', tag),
    list: (tag) => intercept(() => store.list(tag), 'list', tag),
    setUserInfo: (tag, info, ttlMs) => intercept(() => store.setUserInfo(tag, info, ttlMs), 'setUserInfo', tag),
    deleteUserInfo: (tag) => intercept(() => store.deleteUserInfo(tag), 'deleteUserInfo', tag),
    health: () => store.health(),
    close: () => store.close(),
  };
}

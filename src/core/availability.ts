import { isEnded, isUnavailable, type SessionError } from './errors';
import type { Store } from './store';

/** Milliseconds without a failure after which an answer counts as recovery: of a Cluster that lost a node, others go on answering. */
const QUIET_MS = 1000;

/** Who is told when a store fails to answer, and when it answers again. */
export interface AvailabilityWatcher {
  down(error: SessionError): void;
  up(): void;
}

/** The same store, telling the watcher of its first failure to serve and of its recovery, as its calls show them. */
export function watchAvailability(store: Store, watcher: AvailabilityWatcher): Store {
  let failedAt: number | null = null;
  const answered = () => {
    if (failedAt === null || performance.now() - failedAt < QUIET_MS) return;
    failedAt = null;
    watcher.up();
  };
  const failed = (error: unknown) => {
    if (!isUnavailable(error) || isEnded(error)) return answered();
    const isFirst = failedAt === null;
    failedAt = performance.now();
    if (isFirst) watcher.down(error);
  };
  const watch = <Reply>(call: Promise<Reply>): Promise<Reply> => {
    call.then(answered, failed);
    return call;
  };
  return {
    create: (tag, session) => watch(store.create(tag, session)),
    check: (tag, sid, options) => watch(store.check(tag, sid, options)),
    touch: (tag, sid, slideEveryMs, options) => watch(store.touch(tag, sid, slideEveryMs, options)),
    refresh: (tag, sid, ttlMs) => watch(store.refresh(tag, sid, ttlMs)),
    reauthenticate: (tag, sid) => watch(store.reauthenticate(tag, sid)),
    rotate: (tag, sid, rotation) => watch(store.rotate(tag, sid, rotation)),
    unrotate: (tag, sid, newSid) => watch(store.unrotate(tag, sid, newSid)),
    end: (tag, sid, why) => watch(store.end(tag, sid, why)),
    endAll: (tag, options) => watch(store.endAll(tag, options)),
    ban: (tag, ban) => watch(store.ban(tag, ban)),
    unban: (tag) => watch(store.unban(tag)),
    getBan: (tag) => watch(store.getBan(tag)),
    list: (tag) => watch(store.list(tag)),
    setUserInfo: (tag, userInfo, ttlMs) => watch(store.setUserInfo(tag, userInfo, ttlMs)),
    deleteUserInfo: (tag) => watch(store.deleteUserInfo(tag)),
    health: () => store.health(),
    close: () => store.close(),
  };
}

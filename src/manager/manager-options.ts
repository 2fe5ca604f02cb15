import { type CacheOptions, readCacheOptions } from '../cache/cache-options';
import {
  checkBoolean,
  checkFunction,
  checkSeconds,
  checkSecondsOrZero,
  integer,
  kindOf,
  oneOf,
  optional,
  type Reader,
  type Readers,
  readOptions,
  shown,
} from '../errors/arguments';
import { MAX_DATA_KEYS, MAX_SESSIONS } from '../store/limits';
import { MemoryStore } from '../store/memory-store';
import { MAX_ATTRIBUTE_LENGTH } from '../store/session-attributes';
import { isStore, type ReusePolicy, type Store } from '../store/store';
import { importSecret } from '../token/token';
import type { GetUserInfo } from './types';

export interface TokenManagerOptions<Detail> {
  /** Where sessions are kept: a `RedisStore`, a `MemoryStore`, or your own. Required. */
  store: Store;
  /**
   * What tokens are signed with: one secret or several, each at least 32 characters and no well-known placeholder. The
   * first signs, all verify, so that a secret is replaced by putting the new one in front and taking the old one away
   * when its sessions have ended. Required.
   */
  secret: string | readonly string[] | undefined;
  /** Seconds a session lives without a request. Default 604,800 (7 days). */
  ttl?: number | undefined;
  /**
   * Seconds between two slides of a session: a request sooner than that after the last slide only reads. Default 0,
   * each request slides; with a `cache` 60, and at least 1. A session whose ttl is under twice this value slides at
   * half its ttl, so that one in use never ends by idleness.
   */
  slideEvery?: number | undefined;
  /** Seconds since login after which a session ends, no matter how busy. Default: none. */
  absoluteTtl?: number | undefined;
  /**
   * Seconds that the session of a visitor, who is not signed in, lives without a request. It begins with the first data
   * that a request keeps. Default 3,600.
   */
  visitorTtl?: number | undefined;
  /** Whether a user may have one session only: `maxSessions` of 1. Default false. */
  singleMode?: boolean | undefined;
  /** Live sessions a user may have. Default 100. Range 1 to 250. */
  maxSessions?: number | undefined;
  /**
   * Live sessions a user may have on one kind of device, as `attributes.device` of the login says: a number for every
   * kind (a login that names none is of a kind of its own), or one for each kind that has a limit, `{ web: 2, mobile: 1
   * }`. Default: any number. Range 1 to 250.
   */
  maxSessionsPerDevice?: number | Readonly<Record<string, number>> | undefined;
  /**
   * What a login over a limit does: `'replace'` (default) ends the oldest, `'reject'` is refused with
   * `ERR_TOO_MANY_SESSIONS`. The session whose token came with the login counts for no limit, since it ends anyway.
   */
  onLimit?: 'replace' | 'reject' | undefined;
  /**
   * Seconds for which a former token of a session stays good once its successor was used, for requests in flight.
   * Default 10. Range 0 to 3,600.
   */
  rotationGrace?: number | undefined;
  /**
   * What the use of a former token does after `rotationGrace`: `'end-session'` takes it for a theft and ends the
   * session, `'ignore'` refuses that token alone. Default `'end-session'`.
   */
  onReuse?: 'end-session' | 'ignore' | undefined;
  /**
   * Seconds after which the middleware gives a cookie's session a new token; also when the token is signed with an
   * older secret. It costs no call to the store. Default: none, a token is rotated by `rotate()` and
   * `reauthenticated()` alone. Range 1 to a hundred years.
   */
  rotateEvery?: number | undefined;
  /**
   * Loads `user.detail`. Default: none, users have no detail but what another service with the same store has cached.
   */
  getUserInfo?: GetUserInfo<Detail> | undefined;
  /**
   * Bytes that the data of one session may have: its keys and their JSON, in UTF-8. From 1 to 16,777,216. Default
   * 65,536.
   */
  maxDataBytes?: number | undefined;
  /** Keys that the data of one session may have. From 1 to 1,000. Default 250. */
  maxDataKeys?: number | undefined;
  /** Seconds for which loaded user info is kept. Default 600. */
  userInfoTtl?: number | undefined;
  /**
   * Whether to answer for live sessions that were checked a moment ago from memory, without asking the store: `true`,
   * or how far to go. Whatever ends or changes a session in any process is announced to all in the same step; while the
   * announcements may not arrive, the store is asked as without a cache. Changes nothing where the store is a
   * `MemoryStore`, or one that can't be followed. Default false.
   */
  cache?: boolean | CacheOptions | undefined;
}

const READERS = {
  store: checkStore,
  secret: (_name, value) => importSecret(value),
  ttl: optional(checkSeconds, 7 * 24 * 3600),
  slideEvery: optional(checkSecondsOrZero, null),
  absoluteTtl: optional(checkSeconds, 0),
  visitorTtl: optional(checkSeconds, 3600),
  singleMode: optional(checkBoolean, false),
  maxSessions: optional(integer(1, MAX_SESSIONS), 100),
  maxSessionsPerDevice: readDeviceLimits,
  onLimit: optional(oneOf('replace', 'reject'), 'replace'),
  // What is longer than an hour is no grace for requests in flight.
  rotationGrace: optional(integer(0, 3600), 10),
  onReuse: optional(oneOf('end-session', 'ignore'), 'end-session'),
  rotateEvery: optional(checkSeconds, 0),
  getUserInfo: optional(checkFunction<GetUserInfo<unknown>>, undefined),
  userInfoTtl: optional(checkSeconds, 600),
  maxDataBytes: optional(integer(1, 16 * 2 ** 20), 65_536),
  maxDataKeys: optional(integer(1, MAX_DATA_KEYS), 250),
  cache: readCacheOptions,
} satisfies Readers<TokenManagerOptions<unknown>>;

/** Default of `slideEvery` in seconds where a near cache is to spare the store calls. */
const CACHED_SLIDE_EVERY = 60;

/** The options of a manager, checked. Durations are seconds, but for those called otherwise; 0 for none. */
export type ManagerPolicy<Detail> = ReturnType<typeof managerPolicy<Detail>>;

/** @throws TypeError or RangeError naming the option that is missing, unknown or of the wrong kind. */
export function managerPolicy<Detail>(options: TokenManagerOptions<Detail>) {
  const {
    secret,
    slideEvery: given,
    singleMode,
    maxSessionsPerDevice,
    rotationGrace,
    onReuse,
    maxDataBytes,
    maxDataKeys,
    ...policy
  } = readOptions('TokenManager', options, READERS);
  // A memory store answers at once.
  const isCacheable = policy.store.follow !== undefined && !(policy.store instanceof MemoryStore);
  const cache = isCacheable ? policy.cache : null;
  const slideEvery = given ?? (cache === null ? 0 : CACHED_SLIDE_EVERY);
  if (cache !== null && slideEvery === 0) {
    throw new RangeError('option slideEvery must be at least 1 with a cache: at 0 each request would ask the store');
  }
  const reuse: ReusePolicy = { graceMs: 1000 * rotationGrace, onReuse: onReuse === 'ignore' ? 'refuse' : 'end' };
  return {
    ...policy,
    getUserInfo: policy.getUserInfo as GetUserInfo<Detail> | undefined,
    cache,
    keys: secret,
    slideEveryMs: 1000 * slideEvery,
    maxSessions: singleMode ? 1 : policy.maxSessions,
    /** Live sessions that a user may have on this device; 0 for any number. */
    maxOnDevice: maxSessionsPerDevice,
    reuse,
    dataLimits: { maxBytes: maxDataBytes, maxKeys: maxDataKeys },
    rotateEveryMs: 1000 * policy.rotateEvery,
  };
}

function checkStore(name: string, store: unknown): Store {
  if (isStore(store)) return store;
  throw new TypeError(`${name} must be a RedisStore, a MemoryStore or another Store, got ${kindOf(store)}`);
}

function readDeviceLimits(name: string, option: unknown): (device?: string) => number {
  const readLimit: Reader<number> = integer(1, MAX_SESSIONS);
  if (option === undefined) return () => 0;
  if (typeof option === 'number') {
    const limit = readLimit(name, option);
    return () => limit;
  }
  if (typeof option !== 'object' || option === null || Array.isArray(option)) {
    throw new TypeError(`${name} must be a number or an object of numbers, got ${kindOf(option)}`);
  }
  const limits = new Map<string | undefined, number>();
  for (const [device, limit] of Object.entries(option)) {
    const limitName = `${name}[${shown(device)}]`;
    if (device === '' || device.length > MAX_ATTRIBUTE_LENGTH) {
      throw new RangeError(`${limitName} must be named with 1 to ${MAX_ATTRIBUTE_LENGTH} characters`);
    }
    limits.set(device, readLimit(limitName, limit));
  }
  return (device) => limits.get(device) ?? 0;
}

import { type CacheOptions, readCacheOptions } from '../cache/cache-options';
import {
  checkBoolean,
  checkFunction,
  checkSeconds,
  checkWellFormed,
  integer,
  isPlainObject,
  kindOf,
  MAX_SECONDS,
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

/** Options of a `TokenManager`. */
export interface TokenManagerOptions<Detail> {
  /** Where sessions are kept: a `RedisStore`, a `MemoryStore`, or your own. Required. */
  store: Store;
  /**
   * The secret that signs tokens, or several. Each has at least 32 characters and is no well-known placeholder. The
   * first signs, all verify. `docs/recipes.md` replaces a secret without signing anyone out. Required.
   */
  secret: string | readonly string[] | undefined;
  /** Seconds a session lives without a request. Default 604,800 (7 days). */
  ttl?: number | undefined;
  /**
   * Seconds between two slides of a session; an earlier request only reads. Default 0: each request slides. With a
   * `cache` 60, and at least 1. Never more than half a session's ttl, so that a session in use never ends by idleness.
   */
  slideEvery?: number | undefined;
  /** Seconds since login after which a session ends, however busy it is. Default: none. */
  absoluteTtl?: number | undefined;
  /**
   * Seconds that a visitor's session lives without a request. The first write of session data without a login starts
   * it. Default 3,600.
   */
  visitorTtl?: number | undefined;
  /** Whether a user may have one session only: short for `maxSessions` of 1. Default false. */
  singleMode?: boolean | undefined;
  /** Live sessions a user may have. Default 100, or 1 with `singleMode`. Range 1 to 250. */
  maxSessions?: number | undefined;
  /**
   * Live sessions a user may have on one kind of device, `attributes.device` of the login. A number bounds every kind;
   * logins that name no device are a kind of their own. `{ web: 2, mobile: 1 }` bounds these kinds. Default: no bound.
   * Range 1 to 250.
   */
  maxSessionsPerDevice?: number | Readonly<Record<string, number>> | undefined;
  /**
   * What a login over a limit does. `'replace'` (default) ends the oldest session; `'reject'` rejects with
   * `ERR_TOO_MANY_SESSIONS`. The session whose token came with the login ends in any case, and counts for no limit.
   */
  onLimit?: 'replace' | 'reject' | undefined;
  /**
   * Seconds for which a former token stays good once its successor was used, for requests in flight. Default 10. Range
   * 0 to 3,600, and less than `rotateEvery`.
   */
  rotationGrace?: number | undefined;
  /**
   * What a former token does after `rotationGrace`. `'end-session'` (default) treats it as stolen and ends the session;
   * `'ignore'` refuses that token alone.
   */
  onReuse?: 'end-session' | 'ignore' | undefined;
  /**
   * Seconds after which the middleware gives a cookie's session a new token. It also replaces a token that an older
   * secret signed. Costs no call to the store. Default: none; only `rotate()` and `reauthenticated()` make new tokens.
   * Range: more than `rotationGrace`, to a hundred years.
   */
  rotateEvery?: number | undefined;
  /**
   * Loads `user.detail`. Default: none; users then have only the detail that another service with the same store has
   * cached.
   */
  getUserInfo?: GetUserInfo<Detail> | undefined;
  /** Bytes of the data of one session: its keys and their JSON, in UTF-8. Default 65,536. Range 1 to 16,777,216. */
  maxDataBytes?: number | undefined;
  /** Keys of the data of one session. Default 250. Range 1 to 1,000. */
  maxDataKeys?: number | undefined;
  /** Seconds for which loaded user info is cached. Default 600. */
  userInfoTtl?: number | undefined;
  /**
   * Answers from memory for live sessions that were just checked: `true`, or how far to go. The store announces each
   * end or change of a session in the same step. While announcements may not arrive, the manager asks the store as
   * without a cache. No effect with a `MemoryStore`, or with a store that has no `follow`. Default false.
   */
  cache?: boolean | CacheOptions | undefined;
}

const READERS = {
  store: checkStore,
  secret: (_name, value) => importSecret(value),
  ttl: optional(checkSeconds, 7 * 24 * 3600),
  slideEvery: optional(integer(0, MAX_SECONDS), null),
  absoluteTtl: optional(checkSeconds, Number.POSITIVE_INFINITY),
  visitorTtl: optional(checkSeconds, 3600),
  singleMode: optional(checkBoolean, false),
  maxSessions: optional(integer(1, MAX_SESSIONS), null),
  maxSessionsPerDevice: readDeviceLimits,
  onLimit: optional(oneOf('replace', 'reject'), 'replace'),
  // A grace of more than an hour is no longer about requests in flight.
  rotationGrace: optional(integer(0, 3600), 10),
  onReuse: optional(oneOf('end-session', 'ignore'), 'end-session'),
  rotateEvery: optional(checkSeconds, 0),
  getUserInfo: optional(checkFunction<GetUserInfo<unknown>>, undefined),
  userInfoTtl: optional(checkSeconds, 600),
  maxDataBytes: optional(integer(1, 16 * 2 ** 20), 65_536),
  maxDataKeys: optional(integer(1, MAX_DATA_KEYS), 250),
  cache: readCacheOptions,
} satisfies Readers<TokenManagerOptions<unknown>>;

/** Default of `slideEvery` with a near cache, in seconds: the cache saves calls only if most requests don't slide. */
const CACHED_SLIDE_EVERY = 60;

/** The checked options of a manager. Durations are seconds unless their names say otherwise. */
export type ManagerPolicy<Detail> = ReturnType<typeof managerPolicy<Detail>>;

/** @throws TypeError or RangeError naming the option that is missing, unknown or of the wrong kind. */
export function managerPolicy<Detail>(options: TokenManagerOptions<Detail>) {
  const {
    secret,
    slideEvery: given,
    singleMode,
    maxSessions,
    maxSessionsPerDevice,
    rotationGrace,
    onReuse,
    rotateEvery,
    userInfoTtl,
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
  if (singleMode && maxSessions !== null && maxSessions !== 1) {
    throw new TypeError(`option singleMode is short for maxSessions: 1, and option maxSessions is ${maxSessions}`);
  }
  if (rotateEvery > 0 && rotateEvery <= rotationGrace) {
    const grace = `option rotationGrace, which is ${rotationGrace}`;
    throw new RangeError(`option rotateEvery must be more than ${grace}: else a former token stays live`);
  }
  const reuse: ReusePolicy = { graceMs: 1000 * rotationGrace, onReuse };
  return {
    ...policy,
    getUserInfo: policy.getUserInfo as GetUserInfo<Detail> | undefined,
    cache,
    keys: secret,
    slideEveryMs: 1000 * slideEvery,
    maxSessions: maxSessions ?? (singleMode ? 1 : 100),
    /** Gives the limit of live sessions on a device; 0 for none. */
    maxOnDevice: maxSessionsPerDevice,
    reuse,
    dataLimits: { maxBytes: maxDataBytes, maxKeys: maxDataKeys },
    /** 0 for no rotation by the middleware. */
    rotateEveryMs: 1000 * rotateEvery,
    userInfoTtlMs: 1000 * userInfoTtl,
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
  if (!isPlainObject(option)) {
    throw new TypeError(`${name} must be a number or an object of numbers, got ${kindOf(option)}`);
  }
  const limits = new Map<string | undefined, number>();
  for (const [device, limit] of Object.entries(option)) {
    const limitName = `${name}[${shown(device)}]`;
    if (device === '' || device.length > MAX_ATTRIBUTE_LENGTH) {
      throw new RangeError(`${limitName} must be named with 1 to ${MAX_ATTRIBUTE_LENGTH} characters`);
    }
    limits.set(checkWellFormed(limitName, device), readLimit(limitName, limit));
  }
  return (device) => limits.get(device) ?? 0;
}

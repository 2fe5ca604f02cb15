export type { CacheOptions } from './cache/cache-options';
export type { CacheStats } from './cache/near-cache';
export { SessionError, type SessionErrorCode } from './errors/session-error';
export type {
  BanUserOptions,
  CreateSessionOptions,
  DeleteUserTokenOptions,
  InspectTokenOptions,
  RevokeOptions,
} from './manager/call-options';
export type { TokenManagerOptions } from './manager/manager-options';
export type { SessionData } from './manager/session-data';
export type { SessionEvents, SessionListener } from './manager/session-events';
export { TokenManager } from './manager/token-manager';
export type {
  Ban,
  GetUserInfo,
  Inspection,
  ReadonlyJson,
  Register,
  RegisteredData,
  RegisteredDetail,
  Session,
  SessionInfo,
  User,
} from './manager/types';
export type { WatchableSession, WatchedSession } from './manager/watches';
export { createRedisClient, type RedisClientOptions } from './redis/client/client';
export type {
  ClusterSettings,
  NatMap,
  RedisAddress,
  RedisSettings,
  RedisTarget,
  SentinelSettings,
} from './redis/client/settings';
export { RedisStore, type RedisStoreOptions } from './redis/redis-store';
export type { Durability } from './redis/revocations/replica-acknowledgement';
export { MemoryStore, type MemoryStoreOptions } from './store/memory-store';
export {
  type ChangeFeed,
  type ChangeFollower,
  type ChangeSource,
  type DataChange,
  type DataLimits,
  type DataWritten,
  type EndAllOptions,
  type EndedFor,
  type EndedSession,
  type EndReason,
  expiryOf,
  type Found,
  type FoundData,
  type HealthReport,
  type NewSession,
  type ReusePolicy,
  type SessionAttributes,
  type SessionEntries,
  type SessionRecord,
  type SessionState,
  type SessionStates,
  type Store,
  type StoredBan,
  type StoredSession,
  type StoredUser,
} from './store/store';
export type { TokenClaims } from './token/token';

export type { CacheOptions } from './cache/cache-options';
export type {
  BanUserOptions,
  CreateSessionOptions,
  DeleteUserTokenOptions,
  InspectTokenOptions,
  RevokeOptions,
} from './manager/call-options';
export { SessionError, type SessionErrorCode } from './errors/session-error';
export type { TokenManagerOptions } from './manager/manager-options';
export type { CacheStats } from './cache/near-cache';
export type { SessionEvents, SessionListener } from './manager/session-events';
export {
  type ChangeFeed,
  type ChangeFollower,
  type ChangeSource,
  type EndedFor,
  type EndedSession,
  expiryOf,
  type Found,
  type LookOptions,
  type NewSession,
  type Rotation,
  type SessionRecord,
  type Store,
  type StoredBan,
  type StoredSession,
  type StoredUser,
  type StoreHealth,
} from './store/store';
export { TokenManager } from './manager/token-manager';
export type {
  Ban,
  EndReason,
  GetUserInfo,
  Inspection,
  Register,
  RegisteredDetail,
  Session,
  SessionAttributes,
  SessionInfo,
  User,
} from './manager/types';
export { MemoryStore, type MemoryStoreOptions } from './store/memory-store';
export { createRedisClient, type RedisClientOptions } from './redis/client';
export type { Durability } from './redis/replica-acknowledgement';
export type {
  ClusterSettings,
  NatMap,
  RedisAddress,
  RedisSettings,
  RedisTarget,
  SentinelSettings,
} from './redis/settings';
export { RedisStore, type RedisStoreOptions } from './redis/redis-store';

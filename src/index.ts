export type { CacheOptions } from './core/cache-options';
export type {
  BanUserOptions,
  CreateSessionOptions,
  DeleteUserTokenOptions,
  InspectTokenOptions,
  RevokeOptions,
} from './core/call-options';
export { SessionError, type SessionErrorCode } from './core/errors';
export type { TokenManagerOptions } from './core/manager-options';
export type { CacheStats } from './core/near-cache';
export type { SessionEvents, SessionListener } from './core/session-events';
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
} from './core/store';
export { TokenManager } from './core/token-manager';
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
} from './core/types';
export { MemoryStore, type MemoryStoreOptions } from './stores/memory-store';
export { createRedisClient, type RedisClientOptions } from './stores/redis/client';
export type { Durability } from './stores/redis/replica-acknowledgement';
export type {
  ClusterSettings,
  NatMap,
  RedisAddress,
  RedisSettings,
  RedisTarget,
  SentinelSettings,
} from './stores/redis/settings';
export { RedisStore, type RedisStoreOptions } from './stores/redis-store';

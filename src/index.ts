export { SessionError, type SessionErrorCode } from './core/errors';
export {
  expiryOf,
  type NewSession,
  type SessionRecord,
  type Store,
  type StoredSession,
  type StoredUser,
  type StoreHealth,
} from './core/store';
export {
  type CreateSessionOptions,
  type DeleteUserTokenOptions,
  TokenManager,
  type TokenManagerOptions,
} from './core/token-manager';
export type {
  GetUserInfo,
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

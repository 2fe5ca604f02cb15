export { SessionError, type SessionErrorCode } from './core/errors';
export {
  expiryOf,
  type NewSession,
  type SessionRecord,
  type Store,
  type StoredSession,
  type StoredUser,
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
export { createRedisClient, type RedisClientOptions, type RedisSettings } from './stores/redis-client';
export { RedisStore, type RedisStoreOptions } from './stores/redis-store';

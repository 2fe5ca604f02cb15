import type { Redis } from 'ioredis';

/**
 * Corrects the status of a client that reports `ready` on a closed connection. Without a ready check, ioredis 5 does so
 * when the connection closes during the handshake, and then never connects again.
 *
 * @returns whether the status was wrong.
 */
export function correctFalseReady(redis: Redis): boolean {
  if (redis.status !== 'ready' || redis.stream?.closed !== true) return false;
  const isToReconnect = (redis as unknown as { reconnectTimeout: unknown }).reconnectTimeout !== null;
  redis.status = isToReconnect ? 'reconnecting' : 'end';
  return true;
}

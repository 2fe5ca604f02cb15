/*
 * What the examples take from the environment. A mistake there ends the program with one line that says what to change.
 */
import { randomBytes } from 'node:crypto';
import { MemoryStore, RedisStore, type RedisStoreOptions, type Store } from 'tokensession';

/** Redis where `REDIS_URL` says, else this process's memory. */
export function storeFromEnvironment(options?: RedisStoreOptions): Store {
  const url = process.env.REDIS_URL;
  if (!url) return new MemoryStore();
  try {
    return new RedisStore(url, options);
  } catch (error) {
    return fail(`REDIS_URL can't be used: ${(error as Error).message}`);
  }
}

/** What tokens are signed with: `SESSION_SECRET`, the same for all processes that share sessions. */
export function secretFromEnvironment(): string {
  const secret = process.env.SESSION_SECRET;
  if (!secret) {
    console.log('SESSION_SECRET is not set: made one at random, so that no session survives a restart.');
    return randomBytes(32).toString('base64url');
  }
  if (secret.length < 32) fail(`SESSION_SECRET must have at least 32 characters, got ${secret.length}`);
  return secret;
}

/** `PORT`; 0 lets the system choose one. */
export function portFromEnvironment(otherwise: number): number {
  const text = process.env.PORT || String(otherwise);
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) {
    fail(`PORT must be a whole number from 0 to 65535, got ${JSON.stringify(text)}`);
  }
  return port;
}

/** What went wrong, and why, on one line: for an outage, the cause tells a wrong address from a wrong password. */
export function reasonOf({ message, cause }: Error): string {
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

/** Ends the program with one line: a stack trace tells the reader nothing about their own settings. */
export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

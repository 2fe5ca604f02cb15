/*
 * Settings of the examples, from the environment. A mistake ends the program with one line that says what to change.
 */
import { randomBytes } from 'node:crypto';
import {
  MemoryStore,
  type RedisAddress,
  RedisStore,
  type RedisStoreOptions,
  type Store,
  TokenManager,
} from 'tokensession';

/** The variables that say where Redis is, and their topologies. */
const REDIS = {
  REDIS_URL: 'Redis',
  REDIS_SENTINELS: 'Redis, behind sentinels',
  REDIS_CLUSTER: 'a Redis Cluster',
} as const;
type RedisVariable = keyof typeof REDIS;

/** A RedisStore if the environment names a Redis, otherwise a MemoryStore. */
export function storeFromEnvironment(options?: RedisStoreOptions): Store {
  const variable = redisVariable();
  if (variable === null) return new MemoryStore();
  try {
    return new RedisStore(targetFrom(variable), options);
  } catch (error) {
    return fail(`${variable} can't be used: ${(error as Error).message}`);
  }
}

/** The place of the sessions, as a sentence. */
export function whereSessionsAre(): string {
  const variable = redisVariable();
  if (variable !== null) return `Sessions are in ${REDIS[variable]}.`;
  return 'Sessions are in memory: set REDIS_URL, REDIS_SENTINELS or REDIS_CLUSTER for Redis.';
}

/** The variable that is set; `null` when none is. */
export function redisVariable(): RedisVariable | null {
  const [variable = null, other] = (Object.keys(REDIS) as RedisVariable[]).filter((name) => process.env[name]);
  if (other !== undefined) fail(`${variable} and ${other} are both set: the sessions can only be in one place`);
  return variable;
}

function targetFrom(variable: RedisVariable): ConstructorParameters<typeof RedisStore>[0] {
  const { [variable]: value = '', REDIS_NAME: name = 'sessions', REDIS_PASSWORD: password } = process.env;
  if (variable === 'REDIS_URL') return value;
  const access = password ? { password } : {};
  if (variable === 'REDIS_CLUSTER') return { cluster: addressesIn(value), ...access };
  return { sentinels: addressesIn(value), name, ...access };
}

/** `host:port` or `[::1]:port`, with commas between them. */
function addressesIn(list: string): RedisAddress[] {
  return list.split(',').map((text) => {
    const [, bracketed, host = bracketed, port] = /^(?:\[([\da-f:.]+)\]|([\w.-]+)):(\d{1,5})$/i.exec(text.trim()) ?? [];
    if (host === undefined) throw new TypeError('it must look like 127.0.0.1:7001,127.0.0.1:7002');
    return { host, port: Number(port) };
  });
}

/** The secret that signs tokens: `SESSION_SECRET`, the same for all processes that share sessions. */
export function secretFromEnvironment(): string {
  const secret = process.env.SESSION_SECRET;
  if (!secret) {
    console.log('SESSION_SECRET is not set: made one at random, so that no session survives a restart.');
    return randomBytes(32).toString('base64url');
  }
  try {
    new TokenManager({ store: new MemoryStore(), secret });
  } catch (error) {
    return fail((error as Error).message.replace('option secret', 'SESSION_SECRET'));
  }
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

/** The origin of a service's pages, as browsers send it: no path, no slash at the end. */
export function originFromEnvironment(variable: string, otherwise: string): string {
  const origin = process.env[variable] || otherwise;
  if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
    fail(`${variable} must be an origin such as ${otherwise}, got ${JSON.stringify(origin)}`);
  }
  return origin;
}

/** The error and its cause on one line: the cause distinguishes a wrong address from a wrong password. */
export function reasonOf({ message, cause }: Error): string {
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

/** Ends the program with one line: a stack trace does not help with wrong settings. */
export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

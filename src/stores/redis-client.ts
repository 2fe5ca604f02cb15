import type { ConnectionOptions } from 'node:tls';
import { Redis, type RedisOptions } from 'ioredis';
import { checkInteger, checkOptions, checkText, kindOf } from '../core/options';

/** Where a Redis is. */
export interface RedisSettings {
  /** A name or address. Default `localhost`. */
  host?: string | undefined;
  /** Default 6379. */
  port?: number | undefined;
  /** The number of the database. Default 0. */
  db?: number | undefined;
  /** An ACL user. Default: Redis's `default` user. */
  username?: string | undefined;
  /** Default: none. */
  password?: string | undefined;
  /** `true`, or what Node's `tls.connect` takes: `{ ca, cert, key, servername }`. Default: no TLS. */
  tls?: boolean | ConnectionOptions | undefined;
  /** 4 or 6 to resolve `host` to that kind of address only. Default 0, either. */
  family?: number | undefined;
}

const SETTINGS: Record<keyof RedisSettings, true> = {
  host: true,
  port: true,
  db: true,
  username: true,
  password: true,
  tls: true,
  family: true,
};

export interface RedisClientOptions {
  /** Milliseconds to wait for a connection. One that is silent for twice as long with an answer due is given up. Default 1000. */
  timeoutMs?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 1000;
const MAX_TIMEOUT_MS = 10 * 60 * 1000;

/**
 * How many deadlines a connection may be silent with an answer due before it is given up. More than one: a process that was held up
 * itself must come to read the answers that have arrived before a timer throws them away.
 */
const SILENCE_FACTOR = 2;

/** Milliseconds between attempts to reconnect, doubling from the first to the second of these. */
const RECONNECT_FIRST_MS = 50;
const RECONNECT_MAX_MS = 1000;

/** A whole number of milliseconds to wait for a store. */
export function checkTimeoutMs(timeoutMs: number = DEFAULT_TIMEOUT_MS): number {
  return checkInteger('option timeoutMs', timeoutMs, 1, MAX_TIMEOUT_MS);
}

/**
 * An ioredis client set up for sessions: it fails rather than queues while there is no connection, sends nothing twice, gives up a
 * connection that has gone silent, and goes on reconnecting for ever. It starts to connect at once and emits `error` when it can't.
 *
 * @param target a URL (`redis://user:password@host:port/db`, `rediss://` for TLS), or {@link RedisSettings}.
 * @throws TypeError or RangeError for a target that can't be one; the message never holds the URL, which may hold a password.
 */
export function createRedisClient(target: string | RedisSettings, options?: RedisClientOptions): Redis {
  const { timeoutMs } = checkOptions('createRedisClient', options, { timeoutMs: true });
  return new Redis(connectionOptions(target, checkTimeoutMs(timeoutMs)));
}

function connectionOptions(target: string | RedisSettings, timeoutMs: number) {
  const { tls, ...settings } = checkSettings(typeof target === 'string' ? settingsOfUrl(target) : target);
  return {
    ...settings,
    ...(tls === undefined || tls === false ? {} : { tls: tls === true ? {} : tls }),
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: timeoutMs,
    disconnectTimeout: timeoutMs,
    socketTimeout: SILENCE_FACTOR * timeoutMs,
    // With jitter, so that the processes of a service don't all come back at once.
    retryStrategy: (attempt: number) =>
      Math.min(RECONNECT_FIRST_MS * 2 ** (attempt - 1), RECONNECT_MAX_MS) * (0.5 + Math.random() / 2),
  } satisfies RedisOptions;
}

/** The settings that are there, each of the right kind. */
function checkSettings(target: RedisSettings) {
  if (typeof target !== 'object' || target === null) {
    throw new TypeError(
      `the Redis to use must be a URL, an object of settings or an ioredis client, got ${kindOf(target)}`,
    );
  }
  const { host, port, db, username, password, tls, family } = checkOptions('the Redis settings', target, SETTINGS);
  if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null)) {
    throw new TypeError(`Redis tls must be true, false or an object, got ${kindOf(tls)}`);
  }
  return {
    ...(host !== undefined && { host: checkText('Redis host', host) }),
    ...(port !== undefined && { port: checkInteger('Redis port', port, 1, 65_535) }),
    ...(db !== undefined && { db: checkInteger('Redis db', db, 0, 2 ** 31 - 1) }),
    ...(username !== undefined && { username: checkText('Redis username', username) }),
    ...(password !== undefined && { password: checkText('Redis password', password) }),
    ...(family !== undefined && { family: checkFamily(family) }),
    ...(tls !== undefined && { tls }),
  };
}

function checkFamily(family: unknown): number {
  const number = checkInteger('Redis family', family, 0, 6);
  if (![0, 4, 6].includes(number)) throw new RangeError(`Redis family must be 0, 4 or 6, got ${number}`);
  return number;
}

/** The settings in a URL of the form that IANA's registration of `redis` and `rediss` gives, with ioredis's `?family=`. */
function settingsOfUrl(text: string): RedisSettings {
  if (!URL.canParse(text)) throw new TypeError('the Redis URL is not a URL: it must look like redis://host:6379');
  const url = new URL(text);
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') {
    throw new TypeError(`the Redis URL must begin with redis:// or rediss://, got ${url.protocol}`);
  }
  if (url.hostname === '') throw new TypeError('the Redis URL names no host: it must look like redis://host:6379');
  const settings: RedisSettings = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), tls: url.protocol === 'rediss:' };
  if (url.port !== '') settings.port = Number(url.port);
  if (url.username !== '') settings.username = decoded(url.username);
  if (url.password !== '') settings.password = decoded(url.password);
  const db = url.pathname.replace(/^\//, '');
  if (db !== '') {
    if (!/^\d+$/.test(db)) throw new TypeError('the path of the Redis URL must be the number of a database');
    settings.db = Number(db);
  }
  for (const [name, value] of url.searchParams) {
    if (name !== 'family') throw new TypeError(`the Redis URL has an unknown parameter ${JSON.stringify(name)}`);
    settings.family = Number(value);
  }
  return settings;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new TypeError('the Redis URL has a user or password that is not percent-encoded');
  }
}

import type { ConnectionOptions } from 'node:tls';
import { checkOptions, checkText, integer, isPlainObject, kindOf, shown } from '../../errors/arguments';
import type { Credentials } from './credentials';

/** Where one server listens. */
export interface RedisAddress {
  /** A name or address. Default `localhost`. */
  host?: string | undefined;
  /** Default 6379 for a Redis, 26379 for a sentinel. */
  port?: number | undefined;
}

/** Credentials and transport, for every topology. */
interface RedisAccess {
  /** An ACL user. Default: Redis's `default` user. */
  username?: string | undefined;
  /**
   * The password, or a function that returns or promises it, for credentials that rotate. The client calls the function
   * at each attempt to connect. Default: none.
   */
  password?: string | (() => string | Promise<string>) | undefined;
  /** `true`, or options of Node's `tls.connect`: `{ ca, cert, key, servername }`. Default: no TLS. */
  tls?: boolean | ConnectionOptions | undefined;
  /** 4 or 6: resolves names to that kind of address only. Default 0: either. */
  family?: number | undefined;
}

/** One Redis. */
export interface RedisSettings extends RedisAddress, RedisAccess {
  /** The absolute path of a Unix socket, instead of `host`, `port`, `family` and `tls`. Default: none. */
  path?: string | undefined;
  /** The number of the database. Default 0. */
  db?: number | undefined;
}

/** Addresses that replace those which the servers announce: `{ 'their-host:port': { host, port } }`. */
export type NatMap = Readonly<Record<string, { host: string; port: number }>>;

/** A master and its replicas behind sentinels. The client goes to the current master. */
export interface SentinelSettings extends RedisAccess {
  /** Some of the sentinels; the client learns the others from them. Required. */
  sentinels: readonly RedisAddress[];
  /** The name of the master, as in `sentinel monitor`. Required. */
  name: string;
  /** The number of the database. Default 0. */
  db?: number | undefined;
  /** An ACL user of the sentinels. Default: their `default` user. */
  sentinelUsername?: string | undefined;
  /** The password of the sentinels themselves. Default: none. */
  sentinelPassword?: string | undefined;
  /** TLS to the sentinels. Default: as `tls`. */
  sentinelTls?: boolean | ConnectionOptions | undefined;
  /** Replaces addresses that the sentinels announce. Default: none. */
  natMap?: NatMap | undefined;
}

/** A Redis Cluster. It has one database only. */
export interface ClusterSettings extends RedisAccess {
  /** Some of the nodes; the client learns the others from them. Required. */
  cluster: readonly RedisAddress[];
  /** Replaces addresses that the nodes announce. Default: none. */
  natMap?: NatMap | undefined;
}

/** Where Redis is, in each of its topologies. */
export type RedisTarget = string | RedisSettings | SentinelSettings | ClusterSettings;

const ACCESS: Record<keyof RedisAccess, true> = { username: true, password: true, tls: true, family: true };
const ADDRESS: Record<keyof RedisAddress, true> = { host: true, port: true };
const SINGLE: Record<keyof RedisSettings, true> = { ...ADDRESS, ...ACCESS, path: true, db: true };
const SENTINEL: Record<keyof SentinelSettings, true> = {
  ...ACCESS,
  sentinels: true,
  name: true,
  db: true,
  sentinelUsername: true,
  sentinelPassword: true,
  sentinelTls: true,
  natMap: true,
};
const CLUSTER: Record<keyof ClusterSettings, true> = { ...ACCESS, cluster: true, natMap: true };

export type CheckedSettings = ReturnType<typeof checkSettings>;

/**
 * The given settings, checked, with their topology.
 *
 * @param tls goes with a `rediss://` URL only.
 * @throws TypeError or RangeError that names the setting. The message never holds a URL, which may hold a password.
 */
export function checkSettings(target: RedisTarget, tls?: ConnectionOptions) {
  const settings = typeof target === 'string' ? settingsOfUrl(target, tls) : target;
  if (typeof target !== 'string') refuseTlsOption(tls);
  // Such as a client of the package redis.
  if (!isPlainObject(settings)) {
    throw new TypeError(
      `the Redis to use must be a URL, an object of settings or an ioredis client, got ${kindOf(settings)}`,
    );
  }
  if (Object.hasOwn(settings, 'sentinels')) return checkSentinel(settings as SentinelSettings);
  if (Object.hasOwn(settings, 'cluster')) return checkCluster(settings as ClusterSettings);
  const given = checkOptions('the Redis settings', settings as RedisSettings, SINGLE);
  const where = { ...checkPath(given), ...checkAddress('Redis', given) };
  return { topology: 'single' as const, ...where, ...checkAccess(given), ...checkDb(given) };
}

/** Refuses the option `tls` without a `rediss://` URL: settings and clients have their own. */
export function refuseTlsOption(tls: unknown): void {
  if (tls !== undefined) throw new TypeError('option tls goes with a rediss:// URL only');
}

function checkSentinel(settings: SentinelSettings) {
  const given = checkOptions('the Sentinel settings', settings, SENTINEL);
  const { sentinels, name, sentinelUsername, sentinelPassword, sentinelTls = given.tls, natMap } = given;
  return {
    topology: 'sentinel' as const,
    sentinels: checkAddresses('sentinels', sentinels),
    name: checkText('Sentinel name', name),
    ...checkAccess(given),
    ...checkDb(given),
    ...(sentinelUsername !== undefined && { sentinelUsername: checkText('sentinelUsername', sentinelUsername) }),
    ...(sentinelPassword !== undefined && { sentinelPassword: checkText('sentinelPassword', sentinelPassword) }),
    ...(sentinelTls !== undefined && { sentinelTls: checkTls('sentinelTls', sentinelTls) }),
    ...(natMap !== undefined && { natMap: checkNatMap(natMap) }),
  };
}

function checkCluster(settings: ClusterSettings) {
  const given = checkOptions('the Cluster settings', settings, CLUSTER);
  return {
    topology: 'cluster' as const,
    cluster: checkAddresses('cluster', given.cluster),
    ...checkAccess(given),
    ...(given.natMap !== undefined && { natMap: checkNatMap(given.natMap) }),
  };
}

function checkAddresses(name: string, addresses: unknown) {
  if (!Array.isArray(addresses)) {
    throw new TypeError(`${name} must be an array of { host, port }, got ${kindOf(addresses)}`);
  }
  if (addresses.length === 0) throw new RangeError(`${name} must not be empty`);
  return addresses.map((address: RedisAddress, index) => {
    if (address === undefined) throw new TypeError(`${name}[${index}] must be { host, port }, got undefined`);
    return checkAddress(`${name}[${index}]`, checkOptions(`${name}[${index}]`, address, ADDRESS));
  });
}

function checkAddress(owner: string, { host, port }: RedisAddress) {
  return {
    ...(host !== undefined && { host: checkHost(`${owner} host`, host) }),
    ...(port !== undefined && { port: checkPort(`${owner} port`, port) }),
  };
}

/** Its value is never shown, as that of {@link checkHost}. */
function checkPath({ path, host, port, family, tls }: RedisSettings) {
  if (path === undefined) return {};
  const others = Object.entries({ host, port, family, tls: tls || undefined });
  const [other] = others.filter(([, value]) => value !== undefined);
  if (other !== undefined) throw new TypeError(`Redis path can't be given with ${other[0]}`);
  if (!checkText('Redis path', path).startsWith('/')) throw new TypeError('Redis path must begin with /');
  return { path };
}

/** Its value is never shown: a URL in this place may hold a password. */
function checkHost(name: string, host: unknown): string {
  const text = checkText(name, host);
  if (/[\s/@?#\\]/.test(text)) throw new TypeError(`${name} must be a name or an address, and no URL`);
  return text;
}

function checkAccess({ username, password, tls, family }: RedisAccess) {
  return {
    ...(username !== undefined && { username: checkText('Redis username', username) }),
    ...checkPassword(password, username),
    ...(tls !== undefined && { tls: checkTls('Redis tls', tls) }),
    ...(family !== undefined && { family: checkFamily(family) }),
  };
}

/** The password, or a function that asks for the credentials. */
function checkPassword(
  password: RedisAccess['password'],
  username: string | undefined,
): { password?: string; askCredentials?: () => Promise<Credentials> } {
  if (password === undefined) return {};
  if (typeof password !== 'function') return { password: checkText('Redis password', password) };
  const askCredentials = async () => ({
    username,
    password: checkText('what the Redis password function gives', await password()),
  });
  return { askCredentials };
}

function checkDb({ db }: { db?: number | undefined }) {
  return db === undefined ? {} : { db: integer(0, 2 ** 31 - 1)('Redis db', db) };
}

function checkPort(name: string, port: unknown): number {
  return integer(1, 65_535)(name, port);
}

function checkTls(name: string, tls: boolean | ConnectionOptions): boolean | ConnectionOptions {
  if (typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null)) {
    throw new TypeError(`${name} must be true, false or an object, got ${kindOf(tls)}`);
  }
  return tls;
}

function checkFamily(family: unknown): number {
  const number = integer(0, 6)('Redis family', family);
  if (![0, 4, 6].includes(number)) throw new RangeError(`Redis family must be 0, 4 or 6, got ${number}`);
  return number;
}

function checkNatMap(natMap: unknown) {
  if (!isPlainObject(natMap)) {
    throw new TypeError(`natMap must be an object of { host, port } by "host:port", got ${kindOf(natMap)}`);
  }
  const entries = Object.entries(natMap as NatMap).map(([from, to]) => {
    const owner = `natMap[${/^[\w.:[\]-]{1,80}:\d{1,5}$/.test(from) ? JSON.stringify(from) : shown(from)}]`;
    const { host, port } = checkOptions(owner, to, ADDRESS as Record<'host' | 'port', true>);
    return [from, { host: checkHost(`${owner} host`, host), port: checkPort(`${owner} port`, port) }] as const;
  });
  return Object.fromEntries(entries);
}

/** The settings in a URL, in the form of IANA's registration of `redis` and `rediss`, with ioredis's `?family=`. */
function settingsOfUrl(text: string, tls?: ConnectionOptions): RedisSettings {
  if (text.includes('#')) throw new TypeError('the Redis URL has a #: in a password it must be %23');
  if (!URL.canParse(text)) throw new TypeError('the Redis URL is not a URL: it must look like redis://host:6379');
  const url = new URL(text);
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') {
    throw new TypeError('the Redis URL must begin with redis:// or rediss://');
  }
  if (url.hostname === '') throw new TypeError('the Redis URL names no host: it must look like redis://host:6379');
  const settings: RedisSettings = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), tls: tlsOfUrl(url, tls) };
  if (url.port !== '') settings.port = Number(url.port);
  if (url.username !== '') settings.username = decoded(url.username);
  if (url.password !== '') settings.password = decoded(url.password);
  const db = url.pathname.replace(/^\//, '');
  if (db !== '') {
    if (!/^\d+$/.test(db)) throw new TypeError('the path of the Redis URL must be the number of a database');
    settings.db = Number(db);
  }
  for (const [name, value] of url.searchParams) {
    if (name !== 'family') throw new TypeError('the Redis URL has an unknown parameter; known is family');
    settings.family = Number(value);
  }
  return settings;
}

function tlsOfUrl({ protocol }: URL, tls: ConnectionOptions | undefined): boolean | ConnectionOptions {
  if (protocol === 'redis:') refuseTlsOption(tls);
  if (tls === undefined) return protocol === 'rediss:';
  if (typeof tls === 'object' && tls !== null && !Array.isArray(tls)) return tls;
  throw new TypeError(`option tls must be an object, got ${kindOf(tls)}`);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new TypeError('the Redis URL has a user or password that is not percent-encoded');
  }
}

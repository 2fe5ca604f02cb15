import { Socket } from 'node:net';
import type { Cluster, Redis } from 'ioredis';

/** Who a connection says it is; `null` and `undefined` for nobody in particular. */
export interface Credentials {
  username?: string | null | undefined;
  password?: string | null | undefined;
  sentinelUsername?: string | null | undefined;
  sentinelPassword?: string | null | undefined;
}

/**
 * What ioredis (5 and 6) connects with: the condition takes the credentials from the options before the connector is
 * called.
 */
interface Attempts {
  condition: { auth?: unknown };
  connector: { connect(...args: unknown[]): Promise<unknown>; connecting: boolean; firstError?: unknown };
}

/**
 * Has a client ask for its credentials at each attempt to connect, and every duplicate of it, too. When `ask` rejects,
 * the attempt has failed with that error; and when it takes longer than a connection may.
 */
export function askForCredentials(redis: Redis, ask: () => Credentials | Promise<Credentials>): void {
  const attempts = redis as unknown as Attempts;
  const { connector } = attempts;
  const connect = connector.connect.bind(connector);
  connector.connect = async (...args) => {
    connector.connecting = true;
    delete connector.firstError;
    try {
      const credentials = await settledInTime(ask(), redis.options.connectTimeout);
      Object.assign(redis.options, credentials);
      const { username, password } = credentials;
      attempts.condition.auth = username ? [username, password] : password;
    } catch (error) {
      return failed(connector, error);
    }
    // While it was asking, it may have been disconnected.
    return connector.connecting ? connect(...args) : failed(connector);
  };
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (override) => {
    const copy = duplicate({ ...override, lazyConnect: true });
    askForCredentials(copy, ask);
    if (override?.lazyConnect !== true) connectQuietly(copy);
    return copy;
  };
}

/** What is promised, if that comes within so many milliseconds; for `undefined` whenever it comes. */
async function settledInTime<Value>(promised: Value | Promise<Value>, ms: number | undefined): Promise<Value> {
  if (ms === undefined) return promised;
  let timer: NodeJS.Timeout | undefined;
  const givenUp = new Promise<never>((_resolve, reject) => {
    const message = `the Redis password function has given nothing within ${ms} ms`;
    timer = setTimeout(() => reject(new Error(message)), ms).unref();
  });
  return Promise.race([promised, givenUp]).finally(() => clearTimeout(timer));
}

/** Connects. A failure is reported by the events of the client alone. */
export function connectQuietly(redis: Redis): void {
  redis.connect().catch(() => undefined);
}

/** A closed connection: ioredis emits the error and tries again. It would end for good if the connector rejected. */
function failed(connector: Attempts['connector'], error?: unknown): Socket {
  if (error !== undefined) connector.firstError = error;
  return new Socket().destroy();
}

/** Credentials as they were at one moment, in each place that a client takes them from. */
interface Known {
  /** The options of the client. */
  own: Credentials;
  /** The options that a Cluster has for its nodes. */
  shared: Credentials;
  /** What `auth()` was last given. */
  accepted: Credentials | null;
}

interface Followed {
  cluster: Cluster | null;
  known: Known;
}

const followed = new WeakMap<Redis, Followed>();

/** Follows changes to the credentials of a client, or of a node of that Cluster: of its options, and by `auth()`. */
export function followCredentials(redis: Redis, cluster: Cluster | null): void {
  if (followed.has(redis)) return;
  followed.set(redis, { cluster, known: { ...placesOf(redis, cluster), accepted: null } });
  const auth = redis.auth.bind(redis) as (...args: unknown[]) => Promise<unknown>;
  const followedAuth = (...args: unknown[]) => {
    const reply = auth(...args);
    const accept = () => {
      followed.set(redis, { cluster, known: { ...placesOf(redis, cluster), accepted: credentialsIn(args) } });
    };
    // Before it is ready, ioredis itself sends what it took from the options.
    if (redis.status === 'ready') reply.then(accept, () => undefined);
    return reply;
  };
  redis.auth = followedAuth as Redis['auth'];
}

/** The credentials that a client would need if it connected now: what was changed last, as far as that is known. */
export function credentialsOf(redis: Redis): Credentials {
  const { cluster = null, known } = followed.get(redis) ?? {};
  const { own, shared } = placesOf(redis, cluster);
  if (known === undefined || areOthers(own, known.own)) return own;
  return { ...own, ...(areOthers(shared, known.shared) ? shared : known.accepted) };
}

function placesOf({ options }: Redis, cluster: Cluster | null) {
  const { username, password, sentinelUsername, sentinelPassword } = options;
  const forNodes = cluster?.options.redisOptions ?? {};
  return {
    own: { username, password, sentinelUsername, sentinelPassword },
    shared: { username: forNodes.username, password: forNodes.password },
  };
}

function areOthers(a: Credentials, b: Credentials): boolean {
  return a.username !== b.username || a.password !== b.password;
}

/** What `auth` was given: a password, or a user and a password, and maybe a callback. */
function credentialsIn(args: readonly unknown[]): Credentials {
  const texts = args.flat().filter((arg) => typeof arg !== 'function');
  const [username, password] = texts.length === 1 ? [undefined, texts[0]] : texts;
  return { username: username === undefined ? undefined : String(username), password: String(password) };
}

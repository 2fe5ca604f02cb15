import { Socket } from 'node:net';
import type { Cluster, Redis } from 'ioredis';
import { HELD_UP_MS } from './mended-connection';

/** The user and password of a connection; `null` and `undefined` for none. */
export interface Credentials {
  username?: string | null | undefined;
  password?: string | null | undefined;
  sentinelUsername?: string | null | undefined;
  sentinelPassword?: string | null | undefined;
}

/**
 * The internals with which ioredis (5 and 6) connects. The condition takes the credentials from the options before the
 * connector runs.
 */
interface Attempts {
  condition: { auth?: unknown };
  connector: { connect(...args: unknown[]): Promise<unknown>; connecting: boolean; firstError?: unknown };
}

/**
 * Has a client, and every duplicate of it, ask for its credentials at each attempt to connect. The attempt fails when
 * `ask` rejects, or takes longer than a connection may.
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
    // The client may have been disconnected while it asked.
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

/**
 * The result of a promise within `ms`; for `undefined`, without a limit. Gives it that time again when this process was
 * held up: the function may wait for a file or an answer that has arrived.
 */
async function settledInTime<Value>(promised: Value | Promise<Value>, ms: number | undefined): Promise<Value> {
  if (ms === undefined) return promised;
  let timer: NodeJS.Timeout | undefined;
  const givenUp = new Promise<never>((_resolve, reject) => {
    const giveUp = () => reject(new Error(`the Redis password function returned nothing within ${ms} ms`));
    const due = performance.now() + ms;
    timer = setTimeout(() => {
      if (performance.now() - due < HELD_UP_MS) giveUp();
      else timer = setTimeout(giveUp, ms).unref();
    }, ms).unref();
  });
  return Promise.race([promised, givenUp]).finally(() => clearTimeout(timer));
}

/** Connects. The events of the client report a failure. */
export function connectQuietly(redis: Redis): void {
  redis.connect().catch(() => undefined);
}

/**
 * A closed connection, so that ioredis emits the error and tries again. A rejecting connector would end the client for
 * good.
 */
function failed(connector: Attempts['connector'], error?: unknown): Socket {
  if (error !== undefined) connector.firstError = error;
  return new Socket().destroy();
}

/** The credentials that a Cluster last had for its nodes, by node; none for a client of one server. */
const ofClusters = new WeakMap<Redis, Credentials>();

/**
 * Keeps the options of a client, or of a Cluster's node, at the credentials of the last successful `auth()`. ioredis
 * would connect with the former ones again.
 */
export function followCredentials(redis: Redis, cluster: Cluster | null): void {
  if (ofClusters.has(redis)) return;
  ofClusters.set(redis, credentialsIn(cluster?.options.redisOptions));
  const auth = redis.auth.bind(redis) as (...args: unknown[]) => Promise<unknown>;
  const followedAuth = (...args: unknown[]) => {
    const reply = auth(...args);
    const accept = () => {
      ofClusters.set(redis, credentialsIn(cluster?.options.redisOptions));
      Object.assign(redis.options, argumentsOfAuth(args));
    };
    // Before the client is ready, ioredis itself sends the credentials of the options.
    if (redis.status === 'ready') reply.then(accept, () => undefined);
    return reply;
  };
  redis.auth = followedAuth as Redis['auth'];
}

/** The credentials that the client would need to connect now: those that changed last. */
export function credentialsOf(redis: Redis, cluster: Cluster | null): Credentials {
  const before = ofClusters.get(redis);
  const now = credentialsIn(cluster?.options.redisOptions);
  if (before !== undefined && (before.username !== now.username || before.password !== now.password)) {
    ofClusters.set(redis, now);
    Object.assign(redis.options, now);
  }
  const { sentinelUsername, sentinelPassword } = redis.options;
  return { ...credentialsIn(redis.options), sentinelUsername, sentinelPassword };
}

function credentialsIn({ username, password }: Credentials = {}): Credentials {
  return { username, password };
}

/** The arguments of `auth`: a password, or a user and a password, and perhaps a callback. */
function argumentsOfAuth(args: readonly unknown[]): Credentials {
  const texts = args.flat().filter((arg) => typeof arg !== 'function');
  const [username, password] = texts.length === 1 ? [undefined, texts[0]] : texts;
  return { username: username === undefined ? undefined : String(username), password: String(password) };
}

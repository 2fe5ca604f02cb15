import type { Redis } from 'ioredis';
import { MemoryStore, RedisStore, type Store } from 'tokensession';
import type { TcpProxy } from '../tcp-proxy';

/** The servers that the test has started for the program. */
export interface Servers {
  /** Has the user `sessions`, and `limited` without any right. */
  main: number;
  /** Supports neither AUTH, HELLO nor scripts. */
  strict: number;
  full: number;
  replica: number;
  /** Needs no password, and requires a replica that it does not have. */
  lonely: number;
  /** A Cluster of one node. */
  cluster: number;
  /** A port without a server. */
  unused: number;
}

export interface Passwords {
  /** Passwords of the users `sessions`, `limited`, and `default` on each server that needs one. */
  right: string;
  wrong: string;
  sentinel: string;
}

/** The timeout for servers that answer, if only to refuse, and for those that do not. */
const PATIENT = { timeoutMs: 5000 };
const HASTY = { timeoutMs: 250 };
const HOST = '127.0.0.1';

/** A URL of the user `sessions`. */
export const urlOf = (port: number, password: string, user = 'sessions') =>
  `redis://${user}:${encodeURIComponent(password)}@${HOST}:${port}`;

/** Stores that fail, each in its own way. Each is opened when its turn comes. */
export function brokenStores(
  servers: Servers,
  { right: password, wrong, sentinel }: Passwords,
  silent: TcpProxy,
): Record<string, () => Store> {
  const username = 'sessions';
  const at =
    (port: number, access: object = { password }, timeout = PATIENT) =>
    () =>
      new RedisStore({ host: HOST, port, ...access }, timeout);
  const clusterAt = (port: number, access: object) => () =>
    new RedisStore({ cluster: [{ host: HOST, port }], ...access }, PATIENT);
  const sentinelsAt = (port: number) => () => {
    const access = { name: 'sessions', password, sentinelPassword: sentinel };
    return new RedisStore({ sentinels: [{ host: HOST, port }], ...access }, PATIENT);
  };
  return {
    'a closed store': () => {
      const store = new MemoryStore();
      void store.close();
      return store;
    },
    'a Redis that is down': at(servers.unused),
    'a Redis that is silent': () => new RedisStore(urlOf(silent.port, password), HASTY),
    'a wrong password': () => new RedisStore(urlOf(servers.main, wrong), PATIENT),
    'a wrong password of the default user': at(servers.main, { password: wrong }),
    'no password': at(servers.main, {}),
    'a password that the server does not need': at(servers.lonely),
    'a user who may do nothing': at(servers.main, { username: 'limited', password }),
    'a database that there is not': at(servers.main, { username, password, db: 99 }),
    'a Redis without AUTH': at(servers.strict),
    'a Redis without AUTH, as a user': () => new RedisStore(urlOf(servers.strict, password), PATIENT),
    'a Redis without our commands': at(servers.strict, {}),
    'TLS to a Redis without': at(servers.main, { password, tls: true }, HASTY),
    'a Redis that is full': at(servers.full),
    'a Redis that is a replica': at(servers.replica),
    'a Redis without the replicas that it asks for': at(servers.lonely, {}),
    'a Cluster that is down': clusterAt(servers.unused, { password }),
    'a Cluster and a wrong password': clusterAt(servers.cluster, { password: wrong }),
    'a Cluster without AUTH': clusterAt(servers.strict, { password }),
    'a Cluster without slots': clusterAt(servers.cluster, { password }),
    'a Redis that is no Cluster': clusterAt(servers.main, { password }),
    'sentinels that are down': sentinelsAt(servers.unused),
    'sentinels without AUTH': sentinelsAt(servers.strict),
    'sentinels that refuse us': sentinelsAt(servers.main),
  };
}

/** The owner of a client listens to its errors. */
export function silenced(client: Redis): Redis {
  return client.on('error', () => undefined);
}

import { createRedisClient, MemoryStore, RedisStore, type Store, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forKoa from 'tokensession/koa';
import type { Passwords } from './scenes';

type Build = () => unknown;

/** Options rejected at construction because a secret is in the wrong place, or is weak. */
export function misplacedSecrets(store: Store, secret: string): Build[] {
  const manager = (options: object) => () => new TokenManager({ store, secret, ...options } as never);
  const text = secret as never;
  return [
    manager({ secret: secret.slice(0, 31) }),
    manager({ secret: [secret, secret] }),
    manager({ secret: [secret, secret.slice(0, 20)] }),
    manager({ secret: { key: secret } }),
    manager({ secret: Buffer.from(secret) }),
    manager({ secret: [[secret]] }),
    manager({ secret: secret.slice(0, 16).repeat(2) }),
    manager({ secret: `${'a'.repeat(40)}` }),
    manager({ secret: undefined, secrets: secret }),
    manager({ [secret]: true }),
    manager({ store: secret }),
    manager({ ttl: secret }),
    manager({ absoluteTtl: [secret] }),
    manager({ singleMode: secret }),
    manager({ maxSessions: secret }),
    manager({ maxSessionsPerDevice: secret }),
    manager({ maxSessionsPerDevice: { [secret]: 'two' } }),
    manager({ maxSessionsPerDevice: { [secret.repeat(20)]: 2 } }),
    manager({ onLimit: secret }),
    manager({ onReuse: secret }),
    manager({ rotationGrace: secret }),
    manager({ getUserInfo: secret }),
    () => new TokenManager(text),
    () => new TokenManager([text] as never),
    () => new MemoryStore(text),
    () => new MemoryStore({ now: text }),
    () => new MemoryStore({ [secret]: 1 } as never),
  ];
}

/** The same for passwords: an invalid URL, or settings in the wrong place. */
export function misplacedPasswords({ right: password }: Passwords): Build[] {
  const url = `redis://sessions:${encodeURIComponent(password)}@127.0.0.1:1`;
  const targets: unknown[] = [
    password,
    `${password}:x`,
    `redis:${password}`,
    `http://x:${encodeURIComponent(password)}@127.0.0.1`,
    `redis://sessions:%${password}@127.0.0.1:1`,
    `redis://sessions:1?${password}@127.0.0.1:1`,
    `redis://sessions:1/${password}@127.0.0.1:1`,
    `redis://sessions:${encodeURIComponent(password)}@127.0.0.1:99999`,
    `redis://sessions:${encodeURIComponent(password)}@`,
    `${url}/${password}`,
    `${url}?password=${password}`,
    `${url}?${encodeURIComponent(password)}`,
    `${url}?family=${encodeURIComponent(password)}`,
    [url],
    { url },
    { host: url },
    { sentinels: [{ host: url }], name: 'sessions' },
    { cluster: [{ host: url }] },
    { host: 7, password },
    { pasword: password },
    { [password]: true },
    { host: [password] },
    { port: password },
    { db: password },
    { family: password },
    { username: 7, password },
    { password: [password] },
    { password: { value: password } },
    { tls: password, password },
    { path: url },
    { sentinels: url, name: 'sessions' },
    { sentinels: [url], name: 'sessions' },
    { sentinels: [{ host: '127.0.0.1' }], name: [password] },
    { sentinels: [{ host: '127.0.0.1' }], name: 'sessions', sentinelPassword: [password] },
    { sentinels: [{ host: '127.0.0.1', password }], name: 'sessions' },
    { cluster: url },
    { cluster: [url] },
    { cluster: [{ host: '127.0.0.1', password }] },
    { cluster: [{ host: '127.0.0.1', [password]: 1 }] },
    { cluster: [{ host: '127.0.0.1' }], natMap: password },
    { cluster: [{ host: '127.0.0.1' }], natMap: { [password]: 7 } },
    { cluster: [{ host: '127.0.0.1' }], natMap: { 'a:1': { host: '127.0.0.1', port: password } } },
  ];
  const storeOptions: unknown[] = [
    ...targets,
    { tokenKeyPrefix: `{${password}}` },
    { tokenKeyPrefix: [password] },
    { userKeyPrefix: password, tokenKeyPrefix: password },
    { timeoutMs: password },
    { tls: password },
    { durability: password },
    { durability: { replicas: password } },
  ];
  return [
    ...targets.map((target) => () => useStore(target)),
    ...targets.map((target) => () => createRedisClient(target as never).disconnect()),
    ...storeOptions.map((options) => () => new RedisStore(url, options as never).close()),
    () => createRedisClient(url, password as never).disconnect(),
    () => createRedisClient(url, { timeoutMs: password as never }).disconnect(),
    () => createRedisClient(url, { tls: password as never }).disconnect(),
    () => createRedisClient(url.replace('redis:', 'rediss:'), { tls: password as never }).disconnect(),
    () => createRedisClient(url, { password } as never).disconnect(),
  ];
}

/** Builds a store and calls it: options that are not rejected at once must fail without showing a secret. */
async function useStore(target: unknown): Promise<void> {
  const store = new RedisStore(target as never, { timeoutMs: 250 });
  try {
    await store.list('tag');
  } finally {
    await store.close();
  }
}

/** The middleware's options, with a token or a password as value. */
export function misplacedInMiddleware(manager: TokenManager<never>, token: string, password: string): Build[] {
  const options: unknown[] = [
    token,
    { [token]: 1 },
    { token },
    { cookie: token },
    { cookie: { name: `${token} ` } },
    { cookie: { name: `__Secure-${token}`, secure: false } },
    { cookie: { path: token } },
    { cookie: { domain: `${token}/` } },
    { cookie: { domain: `https://x:${encodeURIComponent(password)}@example.com` } },
    { cookie: { sameSite: token } },
    { cookie: { secure: token } },
    { cookie: { [token]: 1 } },
    { header: `Bearer ${token}` },
    { header: [token] },
    { onUnavailable: token },
    { crossOrigin: token },
    { trustedOrigins: token },
    { trustedOrigins: [token] },
    { trustedOrigins: [`https://x:${encodeURIComponent(password)}@example.com`] },
    { clearSiteData: token },
    { clearSiteData: [token] },
  ];
  const text = token as never;
  return [forExpress, forKoa as unknown as typeof forExpress].flatMap(({ sessionMiddleware, requireRecentLogin }) => [
    ...options.map((given) => () => sessionMiddleware(manager, given as never)),
    () => sessionMiddleware(text),
    () => requireRecentLogin(text),
  ]);
}

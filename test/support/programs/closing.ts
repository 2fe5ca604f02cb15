/* Uses a store, whatever comes of it, closes its manager and does nothing more: the process has to end by itself. */
import { RedisStore, TokenManager } from 'tokensession';

const sessions = new TokenManager({
  store: new RedisStore(JSON.parse(process.env.REDIS_TARGET ?? 'null'), { timeoutMs: Number(process.env.TIMEOUT_MS) }),
  secret: 'a secret for tests, long enough to sign with',
  cache: process.env.CACHE === 'yes',
});
sessions
  .setToken('ada', 60)
  .then(
    () => 'stored',
    (error) => error.code,
  )
  .then(console.log)
  .finally(() => sessions.close());

import { TokenManager } from 'tokensession';
import { fail, redisVariable, secretFromEnvironment, storeFromEnvironment } from '../settings';

if (redisVariable() === null)
  fail('REDIS_URL is not set: services share sessions through Redis (redis://localhost:6379)');
if (!process.env.SESSION_SECRET) fail('SESSION_SECRET is not set: services that share sessions need the same one');

/** Stands in for a database. */
const USERS = new Map([
  ['ada', { name: 'Ada Lovelace' }],
  ['grace', { name: 'Grace Hopper' }],
]);

/** The settings that the services share: the Redis with its key prefixes, and the secret. */
export const sessions = new TokenManager({
  store: storeFromEnvironment(),
  secret: secretFromEnvironment(),
  getUserInfo: (id) => USERS.get(id),
  // A session that was just checked needs no call to Redis; a logout at one service reaches the other at once.
  cache: true,
});

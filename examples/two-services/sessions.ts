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

/** What the services have to agree on: the Redis with its key prefixes, and the secret. */
export const sessions = new TokenManager({
  store: storeFromEnvironment(),
  secret: secretFromEnvironment(),
  getUserInfo: (id) => USERS.get(id),
  // Who was here a moment ago is known without asking Redis; a logout at one service is heard by the other at once.
  cache: true,
});

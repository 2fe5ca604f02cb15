// With import: the package works, and its classes are those that require returns.
import assert from 'node:assert';
import { createRequire } from 'node:module';
import express from 'express';
import { MemoryStore, RedisStore, SessionError, TokenManager } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/express';
import { ExpressSessionStore } from 'tokensession/express-session';
import * as fastify from 'tokensession/fastify';
import { sessionOpener } from 'tokensession/fetch';
import * as hono from 'tokensession/hono';
import * as koa from 'tokensession/koa';
import { authenticator } from 'tokensession/live';
import * as node from 'tokensession/node';
import { oauthStateStore } from 'tokensession/passport';

const require = createRequire(import.meta.url);
assert.equal(require('tokensession').TokenManager, TokenManager);
assert.equal(require('tokensession/express').sessionMiddleware, sessionMiddleware);
assert.equal(typeof koa.sessionMiddleware, 'function');
assert.equal(typeof hono.sessionMiddleware, 'function');
assert.equal(typeof fastify.sessionPlugin, 'function');
assert.equal(typeof node.sendError, 'function');
assert.equal(oauthStateStore().store.length, 5);

const memory = new TokenManager({ store: new MemoryStore(), secret: 'a secret for tests, long enough to sign with' });
assert.equal(new ExpressSessionStore(memory, { userIdOf: () => null }).listenerCount('connect'), 0);
const app = express()
  .use(sessionMiddleware(memory))
  .post('/login', async (req, res) => res.json(await req.session.login('ada')))
  .get('/me', requireUser(), (req, res) => res.json(req.session.user));
const server = app.listen(0);
const url = `http://127.0.0.1:${server.address().port}`;
const token = await (await fetch(`${url}/login`, { method: 'POST' })).json();
const me = await fetch(`${url}/me`, { headers: { authorization: `Bearer ${token}` } });
assert.deepEqual(await me.json(), { id: 'ada' });
const { user } = await sessionOpener(memory)(new Request(url, { headers: { authorization: `Bearer ${token}` } }));
assert.deepEqual(user, { id: 'ada' });
const { session } = await authenticator(memory)({ headers: { authorization: `Bearer ${token}` } });
assert.equal(session.user.id, 'ada');
const signal = memory.watch(session);
await memory.deleteUserToken('ada');
if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
assert.equal(signal.reason.endReason, 'revoked');
server.closeAllConnections();
server.close();
await memory.close();

const redis = new TokenManager({
  store: new RedisStore(process.env.REDIS_URL),
  secret: 'a secret for tests, long enough to sign with',
});
const live = await redis.setToken('ada', 60);
assert.equal((await redis.touchToken(live)).user.id, 'ada');
assert.equal(await redis.deleteUserToken('ada'), 1);
await redis.close();
await assert.rejects(redis.setToken('ada'), SessionError);
console.log('import works');

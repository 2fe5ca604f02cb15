/* A guard that refuses a request whose response another handler has begun. */
import express from 'express';
import Fastify from 'fastify';
import Koa from 'koa';
import { MemoryStore, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forFastify from 'tokensession/fastify';
import * as forKoa from 'tokensession/koa';
import { listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { SECRET } from '../support/stores';

const onClose = closeAfterEach();

const APPS: Record<string, (manager: TokenManager) => Promise<{ url: string; close(): unknown }>> = {
  Express: (manager) => {
    const app = express();
    app.use(forExpress.sessionMiddleware(manager), (_req, res, next) => {
      res.write('begun');
      next();
    });
    app.use(forExpress.requireUser(), (_req, res) => void res.end('secret'));
    return listen(app);
  },
  Koa: (manager) => {
    const app = new Koa();
    app.use(forKoa.sessionMiddleware(manager));
    app.use((ctx, next) => {
      ctx.status = 200;
      ctx.res.write('begun');
      return next();
    });
    app.use(forKoa.requireUser());
    app.use((ctx) => void ctx.res.end('secret'));
    return listen(app.callback());
  },
  Fastify: async (manager) => {
    const app = Fastify();
    app.register(forFastify.sessionPlugin, { manager });
    app.after(() => {
      app.addHook('preHandler', (_request, reply, done) => {
        reply.raw.write('begun');
        done();
      });
      app.get('/', { preHandler: forFastify.requireUser() }, () => 'secret');
    });
    return { url: await app.listen({ port: 0 }), close: () => app.close() };
  },
};

it.each(Object.entries(APPS))(
  'cuts the response off, so that no request hangs or looks served: %s',
  async (_, start) => {
    const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    onClose(() => manager.close());
    const app = await start(manager);
    onClose(() => app.close());
    // The client may see the cut before the beginning of the response or after it.
    await expect(fetch(app.url).then((response) => response.text())).rejects.toThrow(/fetch failed|terminated/);
  },
);

it.each(
  Object.entries({ requireUser: forExpress.requireUser(), requireRecentLogin: forExpress.requireRecentLogin(60) }),
)("a refusal by %s that HTTP can't carry goes to Express's error handling, and ends no process", async (_, guard) => {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  onClose(() => manager.close());
  const app = express();
  app.set('env', 'test');
  app.use(forExpress.sessionMiddleware(manager), (_req, res, next) => {
    res.statusMessage = '保存';
    next();
  });
  app.use(guard);
  const { url, close } = await listen(app);
  onClose(close);
  const answer = await fetch(url);
  expect(answer.status).toBe(401);
  expect(await answer.text()).toContain('Invalid character in statusMessage');
});

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type ErrorRequestHandler } from 'express';
import openid from 'express-openid-connect';
import { RedisStore, TokenManager } from 'tokensession';
import { ExpressSessionStore } from 'tokensession/express-session';

/* An application on express-openid-connect, which takes a store of express-session. */

const { ISSUER = '', CLIENT_ID = '', CLIENT_SECRET = '', SESSION_SECRET = '', REDIS_URL, PREFIX } = process.env;
const sessions = new TokenManager({
  store: new RedisStore(REDIS_URL, { tokenKeyPrefix: `${PREFIX}-token`, userKeyPrefix: `${PREFIX}-user` }),
  secret: SESSION_SECRET,
});
sessions.on('save-dropped', () => process.stdout.write('a save was dropped\n'));
const store = new ExpressSessionStore(sessions, { userIdOf: () => null });

const app = express();
app.set('env', 'test');
const server = createServer(app).listen(0, '127.0.0.1', () => {
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  app.use(
    openid.auth({
      issuerBaseURL: ISSUER,
      baseURL,
      clientID: CLIENT_ID,
      clientSecret: CLIENT_SECRET,
      secret: `${SESSION_SECRET} of the cookies`,
      authRequired: false,
      authorizationParams: { response_type: 'code', scope: 'openid' },
      session: {
        store: store as never,
        signSessionStoreCookie: true,
        requireSignedSessionStoreCookie: true,
        cookie: { secure: false },
      },
    }),
  );
  app.get('/me', openid.requiresAuth(), (req, res) => {
    res.json({ id: req.oidc.user?.sub });
  });
  let goOn = () => {};
  app.get('/slow', async (req, res) => {
    const done = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    process.stdout.write('waiting\n');
    await done;
    res.json({ id: req.oidc.user?.sub });
  });
  app.get('/go-on', (_req, res) => {
    goOn();
    res.json(null);
  });
  app.get('/count', async (_req, res) => {
    res.json(await store.length());
  });
  app.use(((error, _req, res, _next) => {
    const status = (error as { status?: number }).status ?? 500;
    res.status(status).json({ error: String((error as Error).message) });
  }) satisfies ErrorRequestHandler);
  process.stdout.write(`listening: ${baseURL}\n`);
});

process.on('SIGTERM', () => process.exit(0));

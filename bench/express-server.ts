/* One contestant of the Express part: `express-server.ts <name> <Redis URL>`. It tells its port and its CPU time when asked. */
import { RedisStore as ConnectRedisStore } from 'connect-redis';
import { parseCookie } from 'cookie';
import express, { type Express, type Request } from 'express';
import session from 'express-session';
import { createClient } from 'redis';
import { RedisStore, TokenManager } from 'tokensession';
import { type RequestSession, sessionMiddleware } from 'tokensession/express';
import { GetexSessions } from './getex-sessions';
import { answerForServer, contestantNamed } from './server';

const SECRET = 'a secret that is long enough to be one';
const TTL = 7 * 24 * 3600;

const CONTESTANTS: Record<string, (app: Express, url: string) => unknown> = {
  bare: (app) => {
    app.get('/', (_req, res) => void res.json({ user: 'user-00' }));
  },

  tokensession: (app, url) => useTokensession(app, url),
  'tokensession, cached': (app, url) => useTokensession(app, url, { cache: true }),

  /** Rolling, so that its sessions slide for the browser, too, as ours do. */
  'express-session': (app, url) => useExpressSession(app, url, { rolling: true }),

  /** Its sessions slide in Redis, but the browser drops the cookie a week after login. */
  'express-session, not rolling': (app, url) => useExpressSession(app, url, { rolling: false }),

  GETEX: (app, url) => {
    const sessions = new GetexSessions(url, TTL);
    app.use(async (req, res, next) => {
      res.locals.user = await sessions.userOf(parseCookie(req.headers.cookie ?? '').session);
      next();
    });
    app.post('/login/:user', async (req, res) => {
      res.cookie('session', await sessions.login(req.params.user), { httpOnly: true });
      res.sendStatus(204);
    });
    app.get('/', (_req, res) => {
      if (res.locals.user === null) res.sendStatus(401);
      else res.json({ user: res.locals.user });
    });
  },
};

function useTokensession(app: Express, url: string, options: { cache?: true } = {}): void {
  const manager = new TokenManager({ store: new RedisStore(url), secret: SECRET, ttl: TTL, ...options });
  app.use(sessionMiddleware(manager));
  // The types of express-session say what `req.session` is, too.
  const sessionOf = (req: Request) => req.session as unknown as RequestSession;
  app.post('/login/:user', async (req, res) => {
    await sessionOf(req).login(req.params.user);
    res.sendStatus(204);
  });
  app.get('/', (req, res) => {
    const { user } = sessionOf(req);
    if (user === null) res.sendStatus(401);
    else res.json({ user: user.id });
  });
}

async function useExpressSession(app: Express, url: string, { rolling }: { rolling: boolean }): Promise<void> {
  const client = await createClient({ url }).connect();
  app.use(
    session({
      store: new ConnectRedisStore({ client }),
      secret: SECRET,
      resave: false,
      saveUninitialized: false,
      rolling,
      cookie: { maxAge: TTL * 1000 },
    }),
  );
  const sessionOf = (req: Request) => req.session as unknown as session.SessionData;
  app.post('/login/:user', (req, res) => {
    sessionOf(req).userId = req.params.user;
    res.sendStatus(204);
  });
  app.get('/', (req, res) => {
    const { userId } = sessionOf(req);
    if (userId === undefined) res.sendStatus(401);
    else res.json({ user: userId });
  });
}

async function main([name = '', url = '']: string[]): Promise<void> {
  const app = express();
  await contestantNamed(name, CONTESTANTS)(app, url);
  answerForServer(app.listen(0, '127.0.0.1'));
}

main(process.argv.slice(2));

/* One contestant of the Express part: `express-server.ts <name> <Redis URL>`. It tells its port when asked. */
import { RedisStore as ConnectRedisStore } from 'connect-redis';
import { parseCookie } from 'cookie';
import express, { type Express, type Request, type RequestHandler, type Response } from 'express';
import session from 'express-session';
import { createClient } from 'redis';
import { type RequestSession, requireUser, sessionMiddleware } from 'tokensession/express';
import { ExpressSessionStore } from 'tokensession/express-session';
import { CachedByHand, userIdOf } from './cached-by-hand';
import { type ManagerOptions, managerOn, SECRET, TTL } from './contestants';
import { GetexSessions, type HandmadeSessions, ListedGetexSessions } from './getex-sessions';
import { serve } from './server';

/** All have the same routes: the cost of Express's routing is a part of each request. */
const CONTESTANTS: Record<string, (app: Express, url: string) => unknown> = {
  bare: (app) => {
    app.post('/login/:user', noLogin);
    app.get('/', (_req, res) => void res.json({ user: 'user-00' }));
  },

  /** The least cost of every session: read the cookie, set a user on the request, and check it in a guard. */
  floor: (app) => {
    const userOf = (req: Request) => (req as { user?: { id: string } }).user;
    app.use((req, _res, next) => {
      const cookies = parseCookie(req.headers.cookie ?? '');
      if (cookies.session !== undefined) Object.assign(req, { user: { id: 'user-00' } });
      next();
    });
    const guard: RequestHandler = (req, res, next) => (userOf(req) === undefined ? res.sendStatus(401) : next());
    app.post('/login/:user', noLogin);
    app.get('/', guard, (req, res) => void res.json({ user: userOf(req)?.id }));
  },

  tokensession: (app, url) => useTokensession(app, url),
  'tokensession, cached': (app, url) => useTokensession(app, url, { cache: true }),

  'cached by hand': (app, url) => {
    const sessions = new CachedByHand(url);
    app.use((req, _res, next) => {
      sessions.open(req, req.headers);
      next();
    });
    app.post('/login/:user', async (req, res) => {
      res.cookie('session', await sessions.login(req.params.user), { httpOnly: true });
      res.sendStatus(204);
    });
    const guard: RequestHandler = (req, res, next) => (userIdOf(req) === undefined ? res.sendStatus(401) : next());
    app.get('/', guard, (req, res) => void res.json({ user: userIdOf(req) }));
  },

  GETEX: (app, url) => useHandmade(app, new GetexSessions(url, TTL)),
  'GETEX, signed and listed': (app, url) => useHandmade(app, new ListedGetexSessions(url, SECRET, TTL)),

  /** Rolling, so that its sessions slide for the browser, too, as ours do. */
  'express-session': (app, url) => useExpressSession(app, url, { rolling: true }),

  /** Its sessions slide in Redis, but the browser drops the cookie a week after login. */
  'express-session, not rolling': (app, url) => useExpressSession(app, url, { rolling: false }),

  /** For an application that keeps express-session: sessions that our manager lists and ends. */
  'express-session, our store': (app, url) => useExpressSession(app, url, { rolling: true, storeOf: ourStore }),

  'tokensession, reads data': (app, url) => useTokensession(app, url, {}, { data: 'lazy', act: readData }),
  'tokensession, eager data': (app, url) => useTokensession(app, url, {}, { data: 'eager', act: readData }),
  'tokensession, writes a key': (app, url) => useTokensession(app, url, {}, { data: 'lazy', act: writeKey }),
  'express-session, reads data': (app, url) => useExpressSession(app, url, { rolling: true, data: 'read' }),
  'express-session, writes a key': (app, url) => useExpressSession(app, url, { rolling: true, data: 'write' }),
  'express-session, our store, reads data': (app, url) =>
    useExpressSession(app, url, { rolling: true, data: 'read', storeOf: ourStore }),
  'express-session, our store, writes a key': (app, url) =>
    useExpressSession(app, url, { rolling: true, data: 'write', storeOf: ourStore }),
};

type StoreOf = (url: string) => Promise<session.Store>;

const connectRedis: StoreOf = async (url) => new ConnectRedisStore({ client: await createClient({ url }).connect() });

const ourStore: StoreOf = async (url) =>
  new ExpressSessionStore<{ userId?: string }>(managerOn(url, {}), { userIdOf: ({ userId }) => userId });

/** Signs the cookies of express-session: `ExpressSessionStore` needs another secret than the manager's. */
const COOKIE_SECRET = `${SECRET}, for cookies`;

/** About 1 KiB in five keys. */
const DATA = Object.fromEntries(['cart', 'flash', 'theme', 'tour', 'state'].map((key) => [key, key.padEnd(200, '.')]));

/** Returns whether the data is there. */
type Act = (session: RequestSession) => Promise<boolean>;

const readData: Act = async ({ data }) => Object.keys(await data.getAll()).length >= Object.keys(DATA).length;
const writeKey: Act = async ({ data }) => {
  await data.set('seen', Date.now());
  return true;
};

const noLogin: RequestHandler = (_req, res) => void res.sendStatus(204);

function useTokensession(
  app: Express,
  url: string,
  options: ManagerOptions = {},
  use: { data: 'lazy' | 'eager'; act: Act } | null = null,
): void {
  const manager = managerOn(url, options);
  // The types of express-session also declare `req.session`.
  const sessionOf = (req: Request) => req.session as unknown as RequestSession;
  app.use(sessionMiddleware(manager, use === null ? {} : { data: use.data }));
  app.post('/login/:user', async (req, res) => {
    await sessionOf(req).login(req.params.user);
    if (use !== null) await sessionOf(req).data.set(DATA);
    res.sendStatus(204);
  });
  const answer = (req: Request, res: Response) => void res.json({ user: sessionOf(req).user?.id });
  if (use === null) app.get('/', requireUser(), answer);
  else {
    app.get('/', requireUser(), async (req, res) => {
      if (!(await use.act(sessionOf(req)))) throw new Error('the data is not there');
      answer(req, res);
    });
  }
}

function useHandmade(app: Express, sessions: HandmadeSessions): void {
  app.use(async (req, res, next) => {
    res.locals.user = await sessions.userOf(parseCookie(req.headers.cookie ?? '').session);
    next();
  });
  app.post('/login/:user', async (req, res) => {
    res.cookie('session', await sessions.login(req.params.user), { httpOnly: true });
    res.sendStatus(204);
  });
  const guard: RequestHandler = (_req, res, next) => (res.locals.user === null ? res.sendStatus(401) : next());
  app.get('/', guard, (_req, res) => void res.json({ user: res.locals.user }));
}

async function useExpressSession(
  app: Express,
  url: string,
  { rolling, data, storeOf = connectRedis }: { rolling: boolean; data?: 'read' | 'write'; storeOf?: StoreOf },
): Promise<void> {
  app.use(
    session({
      store: await storeOf(url),
      secret: COOKIE_SECRET,
      resave: false,
      saveUninitialized: false,
      rolling,
      cookie: { maxAge: TTL * 1000 },
    }),
  );
  const sessionOf = (req: Request) => req.session as unknown as session.SessionData & { data?: object; seen?: number };
  app.post('/login/:user', (req, res) => {
    sessionOf(req).userId = req.params.user;
    if (data !== undefined) sessionOf(req).data = DATA;
    res.sendStatus(204);
  });
  const guard: RequestHandler = (req, res, next) =>
    sessionOf(req).userId === undefined ? res.sendStatus(401) : next();
  app.get('/', guard, (req, res) => {
    if (data !== undefined && sessionOf(req).data === undefined) throw new Error('the data is not there');
    if (data === 'write') sessionOf(req).seen = Date.now();
    res.json({ user: sessionOf(req).userId });
  });
}

serve(CONTESTANTS, async (mount, url) => {
  const app = express();
  await mount(app, url);
  return app.listen(0, '127.0.0.1');
});

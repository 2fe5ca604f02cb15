import express, { type Express, type RequestHandler } from 'express';
import { MemoryStore, RedisStore, type SessionEvents, TokenManager, type TokenManagerOptions } from 'tokensession';
import { ExpressSessionStore, type ExpressSessionStoreOptions } from 'tokensession/express-session';
import { listen } from './apps';
import { Browser } from './browser';
import { collectErrors } from './collected-errors';
import { countedStore } from './counted-store';
import { PATIENT, randomPrefixes, SECRET } from './stores';

/** Without its published types, which would add another `req.session` to all tests. */
export const expressSession = require('express-session');

// biome-ignore lint/suspicious/noExplicitAny: applications store any value there
export type AnySession = any;

/** A request with the properties of express-session. */
export interface Request {
  session: AnySession;
  sessionID: string;
  sessionStore: AnySession;
  query: Record<string, string>;
  path: string;
  auth: AnySession;
}

/** The application's handler of a path; its result is sent as JSON. */
export type Route = (req: Request, res: AnySession) => unknown;

export interface BridgeOptions {
  /** The URL of a Redis; a MemoryStore without one. */
  redis?: string | undefined;
  policy?: Partial<TokenManagerOptions<unknown>>;
  store?: Partial<ExpressSessionStoreOptions<AnySession>>;
  /** Options of express-session. */
  session?: Record<string, unknown>;
  routes?: Record<string, Route>;
  /** Middleware between express-session and the routes. */
  between?: RequestHandler[];
  /** Adds plain Express routes. */
  mount?: (app: Express) => void;
  /** Replaces a method of the store of express-session. */
  wrap?: (store: ExpressSessionStore<AnySession>) => void;
}

/** An application on express-session and our store, and the calls to the store. */
export async function startBridge(onClose: (close: () => unknown) => void, options: BridgeOptions = {}) {
  const inner =
    options.policy?.store ??
    (options.redis === undefined
      ? new MemoryStore()
      : new RedisStore(options.redis, { ...randomPrefixes(), ...PATIENT }));
  const { store: counted, calls } = countedStore(inner);
  const manager = new TokenManager({ secret: SECRET, ...options.policy, store: counted });
  const store = new ExpressSessionStore<AnySession>(manager, {
    userIdOf: (session) => session.passport?.user,
    ...options.store,
  });
  options.wrap?.(store);
  const events: [name: string, event: unknown][] = [];
  for (const name of EVENTS) manager.on(name, (event) => events.push([name, event]));
  const app = express();
  app.set('env', 'test');
  const defaults = { secret: SECRET, resave: false, saveUninitialized: false };
  app.use(expressSession({ ...defaults, store, ...options.session }));
  for (const middleware of options.between ?? []) app.use(middleware);
  options.mount?.(app);
  for (const [path, route] of Object.entries({ ...ROUTES, ...options.routes })) app.all(path, handlerOf(route));
  const errors = collectErrors(app);
  const running = await listen(app);
  onClose(async () => {
    await running.close();
    await manager.close();
  });
  const browse = () => new Browser(running.url);
  return { store, manager, calls, events, errors, url: running.url, browse, inner };
}

export function handlerOf(route: Route): RequestHandler {
  return (req, res, next) => {
    Promise.resolve()
      .then(() => route(req as unknown as Request, res))
      .then((body) => (res.headersSent ? undefined : res.json(body ?? null)))
      .catch(next);
  };
}

const EVENTS: (keyof SessionEvents)[] = ['login', 'logout', 'replaced', 'revoked', 'banned', 'save-dropped'];

/** A login like that of passport 0.7: regenerates the session, then stores the user. */
const logIn = async (req: Request, user: unknown) => {
  await called((done) => req.session.regenerate(done));
  req.session.passport = { user };
  await called((done) => req.session.save(done));
};

const ROUTES: Record<string, Route> = {
  '/session': (req) => ({ id: req.sessionID, data: req.session }),
  '/set': (req) => {
    Object.assign(req.session, req.query);
    return { id: req.sessionID };
  },
  '/login': async (req) => {
    await logIn(req, req.query.user ?? 'ada');
    return { id: req.sessionID };
  },
  '/logout': async (req) => {
    if (req.session.passport) delete req.session.passport.user;
    await called((done) => req.session.save(done));
    await called((done) => req.session.regenerate(done));
    return { id: req.sessionID };
  },
  '/destroy': (req) => called((done) => req.session.destroy(done)),
};

/** The result of a callback, as a promise. */
export function called<Outcome = unknown>(
  call: (done: (error?: unknown, outcome?: Outcome) => void) => void,
): Promise<Outcome> {
  return new Promise((resolve, reject) =>
    call((error, outcome) => (error ? reject(error) : resolve(outcome as Outcome))),
  );
}

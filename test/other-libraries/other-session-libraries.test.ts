import type { RequestListener } from 'node:http';
import express5, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import Koa3 from 'koa';
import { MemoryStore, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forKoa from 'tokensession/koa';
import { listen, type Session } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { sendRaw } from '../support/raw-request';
import { SECRET } from '../support/stores';

/** Which middleware comes first, and the property of ours. */
interface Order {
  isOursFirst: boolean;
  property: string;
}

/** A request or context with both sessions. */
type Holder = Record<string, unknown> & { session: { views?: number } };

type Build = (manager: TokenManager, order: Order, errors: unknown[]) => RequestListener;

/** Counts in the other library's session, and signs in with ours. */
async function handle(holder: Holder, path: string | undefined, property: string) {
  const views = (holder.session.views ?? 0) + 1;
  holder.session.views = views;
  const ours = holder[property] as Session;
  if (path === '/login') await ours.login('ada');
  if (path === '/logout') await ours.logout();
  return { views, user: ours.user };
}

const onExpress =
  (express: () => Express, theirs: () => RequestHandler): Build =>
  (manager, { isOursFirst, property }, errors) => {
    const app = express();
    const both = [forExpress.sessionMiddleware(manager, { property }), theirs()];
    app.use(...((isOursFirst ? both : both.reverse()) as RequestHandler[]));
    app.use(((req, res, next) => {
      handle(req as unknown as Holder, req.url, property).then((body) => res.json(body), next);
    }) satisfies RequestHandler);
    app.use(((error, _req, res, _next) => {
      errors.push(error);
      res.sendStatus(500);
    }) satisfies ErrorRequestHandler);
    return app;
  };

const onKoa =
  (Koa: typeof Koa3, theirs: (app: Koa3) => Koa3.Middleware): Build =>
  (manager, { isOursFirst, property }, errors) => {
    const app = new Koa({ keys: [SECRET] });
    app.on('error', (error) => errors.push(error));
    const mountOurs = () => app.use(forKoa.sessionMiddleware(manager, { property }) as unknown as Koa3.Middleware);
    if (isOursFirst) mountOurs();
    app.use(theirs(app));
    if (!isOursFirst) mountOurs();
    app.use(async (ctx) => {
      ctx.body = await handle(ctx as unknown as Holder, ctx.path, property);
    });
    return app.callback();
  };

const expressSession = () => require('express-session')({ secret: SECRET, resave: false, saveUninitialized: false });
// Its default cookie name is "session", which is ours on plain HTTP.
const cookieSession = () => require('cookie-session')({ name: 'cart', keys: [SECRET] });
const koaSession = (app: Koa3) => require('koa-session').default(app);
const koaSessionWithStore = (app: Koa3) => {
  const kept = new Map();
  const [get, set, destroy] = [kept.get.bind(kept), kept.set.bind(kept), kept.delete.bind(kept)];
  return require('koa-session').default({ store: { get, set, destroy } }, app);
};

const TAKEN = /^(?:req|ctx)\.session is taken by another middleware .*the option property gives tokensession another$/;
/** Skips itself if a session exists. The first assignment of the application then fails. */
const UNNOTICED = /^session\.views can't be assigned: keep data with session.data.set/;
/** The message of V8. */
const REDEFINED = /^Cannot redefine property: session$/;

/** The outcome of the other library after ours, at one property. */
const LIBRARIES: [name: string, build: Build, behindOurs: RegExp][] = [
  ['express-session in Express 5', onExpress(express5, expressSession), UNNOTICED],
  ['express-session in Express 4', onExpress(require('express4'), expressSession), UNNOTICED],
  ['cookie-session in Express 5', onExpress(express5, cookieSession), REDEFINED],
  ['cookie-session in Express 4', onExpress(require('express4'), cookieSession), REDEFINED],
  ['koa-session in Koa 3', onKoa(Koa3, koaSession), TAKEN],
  ['koa-session in Koa 2', onKoa(require('koa2'), koaSession), TAKEN],
  ['koa-session with a store in Koa 3', onKoa(Koa3, koaSessionWithStore), TAKEN],
];

describe.each(LIBRARIES)('%s', (_, build, behindOurs) => {
  const onClose = closeAfterEach();

  async function start(order: Order) {
    const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    const errors: Error[] = [];
    const app = await listen(build(manager, order, errors));
    onClose(() => manager.close());
    onClose(app.close);
    const jar = new Map<string, string>();
    /** A browser with cookies. */
    const send = async (method: string, path: string) => {
      const cookies = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
      const { status, setCookie, text } = await sendRaw(app.url, method, path, [
        'Host: a.example',
        `Cookie: ${cookies}`,
      ]);
      for (const line of setCookie) {
        const [, name, value] = /^([^=]*)=([^;]*)/.exec(line) ?? [];
        if (value === '') jar.delete(name as string);
        else jar.set(name as string, value as string);
      }
      return status === 200 ? JSON.parse(text) : status;
    };
    return { send, errors };
  }

  it.each([true, false])(
    'has its session beside ours at another property, ours mounted first: %s',
    async (isOursFirst) => {
      const { send, errors } = await start({ isOursFirst, property: 'auth' });
      expect(await send('GET', '/')).toEqual({ views: 1, user: null });
      expect(await send('POST', '/login')).toEqual({ views: 2, user: { id: 'ada' } });
      expect(await send('GET', '/')).toEqual({ views: 3, user: { id: 'ada' } });
      expect(await send('POST', '/logout')).toEqual({ views: 4, user: null });
      expect(await send('GET', '/')).toEqual({ views: 5, user: null });
      expect(errors).toEqual([]);
    },
  );

  it.each([true, false])(
    'fails the first request with ours at the same property, ours mounted first: %s',
    async (isOursFirst) => {
      const { send, errors } = await start({ isOursFirst, property: 'session' });
      expect(await send('GET', '/')).toBe(500);
      expect(errors).toHaveLength(1);
      expect(errors[0]).toBeInstanceOf(TypeError);
      expect(errors[0]?.message).toMatch(isOursFirst ? behindOurs : TAKEN);
    },
  );
});

/*
 * Recognises users who logged in at the shop. In Koa, while the shop is in Express: they share their sessions in Redis.
 */
import Koa from 'koa';
import { requireUser, sessionMiddleware } from 'tokensession/koa';
import { serve } from '../serve';
import { originFromEnvironment, portFromEnvironment } from '../settings';
import { sessions } from './sessions';

/**
 * Another port is another origin, on localhost too: only trustedOrigins makes requests from there with the cookie
 * valid.
 */
const SHOP = originFromEnvironment('SHOP_ORIGIN', 'http://localhost:3001');

const app = new Koa()
  .use(async (ctx, next) => {
    // Lets the shop's pages read the responses, too: trustedOrigins only accepts their requests.
    ctx.set({ 'Access-Control-Allow-Origin': SHOP, 'Access-Control-Allow-Credentials': 'true' });
    await next();
  })
  .use(sessionMiddleware(sessions, { trustedOrigins: [SHOP] }))
  .use(requireUser())
  .use(async (ctx) => {
    switch (`${ctx.method} ${ctx.path}`) {
      case 'GET /me':
        ctx.body = { service: 'forum', ...ctx.session.user };
        return;
      case 'POST /logout-everywhere':
        await ctx.session.logout({ everywhere: true });
        ctx.status = 204;
    }
  });

serve(app.callback(), {
  port: portFromEnvironment(3002),
  sessions,
  greeting: (address) => `The forum is at ${address}`,
});

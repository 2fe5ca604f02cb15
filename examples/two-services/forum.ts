/* Knows whoever has logged in at the shop. In Koa, as the shop is in Express: what they share is in Redis. */
import Koa from 'koa';
import { requireUser, sessionMiddleware } from 'tokensession/koa';
import { serve } from '../serve';
import { originFromEnvironment, portFromEnvironment } from '../settings';
import { sessions } from './sessions';

/** Another port is another origin, on localhost too: its pages may send requests with the session's cookie only if it is named. */
const SHOP = originFromEnvironment('SHOP_ORIGIN', 'http://localhost:3001');

const app = new Koa()
  .use(async (ctx, next) => {
    // Lets the shop's pages read the answers, too: trustedOrigins is about what they may send.
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

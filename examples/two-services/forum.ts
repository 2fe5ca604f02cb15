/* Knows whoever has logged in at the shop. In Koa, as the shop is in Express: what they share is in Redis. */
import Koa from 'koa';
import { requireUser, sessionMiddleware } from 'tokensession/koa';
import { serve } from '../serve';
import { portFromEnvironment } from '../settings';
import { sessions } from './sessions';

const app = new Koa()
  .use(sessionMiddleware(sessions))
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

/* One contestant of the Fastify part: `fastify-server.ts <name> <Redis URL>`. It tells its port when asked. */
import fastifyCookie from '@fastify/cookie';
import fastifySession from '@fastify/session';
import { RedisStore as ConnectRedisStore } from 'connect-redis';
import { parseCookie } from 'cookie';
import createFastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type onRequestHookHandler,
} from 'fastify';
import { createClient } from 'redis';
import { type RequestSession, requireUser, sessionPlugin } from 'tokensession/fastify';
import { type ManagerOptions, managerOn, SECRET, TTL } from './contestants';
import { serve } from './server';

declare module 'fastify' {
  /** What the application keeps in sessions of @fastify/session. */
  interface Session {
    userId?: string;
  }
}

const CONTESTANTS: Record<string, (app: FastifyInstance, url: string) => Promise<unknown>> = {
  bare: async (app) => {
    app.post('/login/:user', noLogin);
    app.get('/', () => ({ user: 'user-00' }));
  },

  /** What every session costs at least: the cookie is looked at, the request gets a user, and a guard looks for it. */
  floor: async (app) => {
    type WithUser = FastifyRequest & { user: { id: string } | null };
    app.decorateRequest('user', null);
    app.addHook('onRequest', (request, _reply, done) => {
      const cookies = parseCookie(request.headers.cookie ?? '');
      if (cookies.session !== undefined) (request as WithUser).user = { id: 'user-00' };
      done();
    });
    app.post('/login/:user', noLogin);
    app.get('/', { onRequest: guard((request) => (request as WithUser).user !== null) }, (request) => ({
      user: (request as WithUser).user?.id,
    }));
  },

  tokensession: (app, url) => useTokensession(app, url),
  'tokensession, cached': (app, url) => useTokensession(app, url, { cache: true }),

  /** Rolling, so that its sessions slide for the browser, too, as ours do. */
  '@fastify/session': (app, url) => useFastifySession(app, url, { rolling: true }),
  '@fastify/session, not rolling': (app, url) => useFastifySession(app, url, { rolling: false }),
};

async function useTokensession(app: FastifyInstance, url: string, options: ManagerOptions = {}): Promise<void> {
  // The types of @fastify/session say what `request.session` is, too.
  const sessionOf = (request: FastifyRequest) => request.session as unknown as RequestSession;
  await app.register(sessionPlugin, { manager: managerOn(url, options) });
  app.post('/login/:user', async (request, reply) => {
    await sessionOf(request).login(userIn(request));
    return reply.code(204).send();
  });
  app.get('/', { onRequest: requireUser() }, (request) => ({ user: sessionOf(request).user?.id }));
}

async function useFastifySession(app: FastifyInstance, url: string, { rolling }: { rolling: boolean }): Promise<void> {
  const client = await createClient({ url }).connect();
  await app.register(fastifyCookie);
  await app.register(fastifySession, {
    store: new ConnectRedisStore({ client }) as never,
    secret: SECRET,
    saveUninitialized: false,
    rolling,
    cookie: { maxAge: TTL * 1000, secure: false },
  });
  app.post('/login/:user', async (request, reply) => {
    request.session.userId = userIn(request);
    return reply.code(204).send();
  });
  // Its onRequest hook runs first, because it was added first.
  app.get('/', { onRequest: guard(({ session }) => session.userId !== undefined) }, ({ session }) => ({
    user: session.userId,
  }));
}

const userIn = (request: FastifyRequest) => (request.params as { user: string }).user;

const noLogin = (_request: FastifyRequest, reply: FastifyReply) => reply.code(204).send();

function guard(isSignedIn: (request: FastifyRequest) => boolean): onRequestHookHandler {
  return (request, reply, done) => {
    if (isSignedIn(request)) done();
    else reply.code(401).send();
  };
}

serve(CONTESTANTS, async (mount, url) => {
  const app = createFastify();
  await mount(app, url);
  await app.listen({ port: 0, host: '127.0.0.1' });
  return app.server;
});

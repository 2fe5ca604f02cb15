import {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  type onRequestHookHandler,
} from 'fastify';
import * as forFastify from 'tokensession/fastify';
import { cookiesOf, deletedCookie, exchange, guardsOf, type Host, type Visit, write } from './host';

const GUARDS = guardsOf<forFastify.FastifyHook>(forFastify);

export const fastifyHost: Host = {
  hasMiddleware: true,
  hasProperty: true,
  canSwallow: false,
  isNode: true,
  takesAnyHost: true,
  forwardedHost: 'last',
  takesStatusMessages: false,
  begin: write,
  requireUser: forFastify.requireUser as Host['requireUser'],
  requireRecentLogin: forFastify.requireRecentLogin as Host['requireRecentLogin'],
  build({ mounts, trustProxy = false, guardOf, handle }) {
    const app = fastify({ trustProxy, forceCloseConnections: true });
    // Bodies are parsed elsewhere, or not at all.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', (_request, _payload, done) => done(null));
    for (const { manager, options } of mounts) app.register(forFastify.sessionPlugin, { manager, ...options });
    app.addHook('preHandler', (request, reply, done) => {
      const guard = guardOf(pathOf(request.url).pathname);
      if (guard === undefined) done();
      else GUARDS[guard](request, reply, done);
    });
    const answer = async (request: FastifyRequest, reply: FastifyReply) => {
      const { pathname: path, searchParams: query } = pathOf(request.url);
      const holder = request as unknown as Visit['holder'];
      const { session } = holder;
      const { raw: res } = reply;
      const setHeader = (name: string, value: string) => void reply.header(name, value);
      const clearCookie = (name: string, at: string) => void reply.header('Set-Cookie', deletedCookie(name, at));
      const body = await handle({ req: request.raw, res, path, query, holder, session, clearCookie, setHeader });
      if (res.headersSent) return reply.hijack();
      return reply
        .code(res.statusCode)
        .type('application/json')
        .send(JSON.stringify(body ?? null));
    };
    app.all('*', answer);
    // For methods unknown to Fastify.
    app.setNotFoundHandler(answer);
    const ready = app.ready();
    return (req, res) => void ready.then(() => app.routing(req, res));
  },
  direct(manager, options) {
    const hooks: onRequestHookHandler[] = [];
    const instance = {
      hasRequestDecorator: () => false,
      decorateRequest: () => undefined,
      addHook: (_name: string, hook: onRequestHookHandler) => hooks.push(hook),
    } as unknown as FastifyInstance;
    const isPlain = options === undefined || (typeof options === 'object' && !Array.isArray(options));
    const given = isPlain ? { manager, ...options } : options;
    forFastify.sessionPlugin(instance, given as forFastify.SessionPluginOptions, (error) => {
      if (error !== undefined) throw error;
    });
    return async (request) => {
      const { req, res } = exchange(request);
      const { url: originalUrl, secure, headers } = request;
      const protocol = secure ? 'https' : 'http';
      const made = { raw: req, originalUrl, protocol, ip: '::1', host: headers.host ?? '', session: undefined };
      await new Promise<void>((resolve, reject) => {
        const [hook] = hooks as unknown as [(...given: unknown[]) => void];
        hook(made, { raw: res }, (error?: Error) => (error ? reject(error) : resolve()));
      });
      return { session: made.session as unknown as Visit['session'], setCookie: () => cookiesOf(res) };
    };
  },
};

const pathOf = (url: string) => new URL(url, 'http://app');

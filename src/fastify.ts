import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { type Guard, type GuardOptions, type RequireUserOptions, recencyGuard, userGuard } from './http/guards/guards';
import type { Refusal } from './http/guards/refusal';
import { type SessionMiddlewareOptions, sessionPolicy } from './http/session/middleware-options';
import { type SessionContext, SessionPlace } from './http/session/session-place';
import type { TokenManager } from './manager/token-manager';
import { cutOff } from './node-http/node-answer';
import { NodeExchange } from './node-http/node-exchange';

export type { GuardOptions, RequireUserOptions } from './http/guards/guards';
export * from './http/index';

declare module 'fastify' {
  /** `session`, or the property that `Register` names. Present after `sessionPlugin`. */
  interface FastifyRequest extends SessionContext {}
}

/** Options of {@link sessionPlugin}. */
export interface SessionPluginOptions extends SessionMiddlewareOptions {
  /** The manager of the sessions. Required. */
  manager: TokenManager<unknown>;
}

/** The used part of Fastify's reply. Its own type differs between servers and schemas. */
interface GuardedReply {
  getHeader(name: string): unknown;
  header(name: string, value: string): unknown;
  code(status: number): unknown;
  send(payload: unknown): unknown;
  readonly raw: Parameters<typeof cutOff>[0];
}

/** A hook of Fastify before a handler: for `onRequest`, `preHandler` and others. */
export type FastifyHook = (request: object, reply: GuardedReply, done: (error?: Error) => void) => void;

/**
 * Puts `request.session` on every request, for Fastify 5: in an `onRequest` hook of the instance that registers it, and
 * of all below. By default it takes tokens from `Authorization: Bearer`, and from the cookie `__Host-session`
 * (`session` where a request isn't secure). A request without a signed token costs no call to the store; one with a
 * token costs one. Registered twice with one manager, it works once, with the options of the first; at two properties,
 * requests fail with a TypeError.
 *
 * While the store can't answer, a request with a token fails with a `SessionError` of status 503. An unsafe request of
 * another origin with a token in the cookie fails with one of status 403. Fastify's error handler answers with it.
 *
 * `register` and `ready` reject with a TypeError for an option that is unknown or of the wrong kind.
 *
 * @example
 * app.register(sessionPlugin, { manager });
 */
export const sessionPlugin: FastifyPluginCallback<SessionPluginOptions> = (fastify, options, done) => {
  try {
    addSession(fastify, options);
  } catch (error) {
    return done(error as Error);
  }
  done();
};
// As the package fastify-plugin does: the hook is for the registering instance, not for one below it.
Object.assign(sessionPlugin, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'tokensession',
  [Symbol.for('plugin-meta')]: { name: 'tokensession', fastify: '5.x' },
});

/** The options of `register` itself, which Fastify also passes to the plugin. */
interface RegisterOptions {
  prefix?: unknown;
  logLevel?: unknown;
  logSerializers?: unknown;
}

function addSession(fastify: FastifyInstance, options: SessionPluginOptions & RegisterOptions): void {
  const { manager, prefix: _prefix, logLevel: _level, logSerializers: _serializers, ...others } = options;
  const policy = sessionPolicy(manager, others, 'sessionPlugin');
  const { property } = policy;
  const place = SessionPlace.of('request', property);
  const mark = Symbol.for(`tokensession.${property}`);
  // Throws when another plugin owns the property.
  if (!fastify.hasRequestDecorator(mark)) {
    fastify.decorateRequest(mark, null);
    fastify.decorateRequest(property, { getter: () => undefined });
  }
  fastify.addHook('onRequest', (request, reply, done) => {
    let opened: Promise<void> | undefined;
    try {
      opened = place.open(request, policy, new FastifyExchange(request, reply));
    } catch (error) {
      return done(error as Error);
    }
    if (opened === undefined) return done();
    opened.then(() => done(), done);
  });
}

/**
 * Requires a signed-in user. Other requests get 401 as JSON, `{ "error": "unauthenticated" }`. The answer has the
 * `reason` when a signed token came that is not live, and the `message` given when its session ended. With
 * `redirectTo`, browsers are redirected to the login page.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * app.get('/me', { onRequest: requireUser() }, (request) => request.session.user);
 */
export function requireUser(options?: RequireUserOptions): FastifyHook {
  return hookOf(userGuard(options, 'sessionPlugin'));
}

/**
 * Requires a login or a `request.session.reauthenticated()` within `seconds`. Other requests get 403 as JSON, `{
 * "error": "reauthentication_required" }`; without a user, the answer of `requireUser()`. Refuses sessions with an
 * `actor`. Asks the store, never the near cache.
 *
 * @throws TypeError or RangeError when `seconds` is not a positive whole number, and for an option that is unknown.
 */
export function requireRecentLogin(seconds: number, options?: GuardOptions): FastifyHook {
  return hookOf(recencyGuard(seconds, options, 'sessionPlugin'));
}

function hookOf(guard: Guard): FastifyHook {
  return (request, reply, done) => {
    const settle = (refusal: Refusal | null) => {
      if (refusal === null) return done();
      if (cutOff(reply.raw)) return;
      try {
        answer(refusal, reply);
      } catch (error) {
        // In the rejection of a promise it would end the process: an earlier hook may have set what HTTP can't carry.
        done(error as Error);
      }
    };
    let refusal: ReturnType<Guard>;
    try {
      refusal = guard(request);
    } catch (error) {
      return done(error as Error);
    }
    if (refusal instanceof Promise) refusal.then(settle, done);
    else settle(refusal);
  };
}

function answer({ status, headers: { Vary, ...headers }, body }: Refusal, reply: GuardedReply): void {
  const varied = reply.getHeader('Vary');
  if (Vary !== undefined) reply.header('Vary', varied === undefined ? Vary : `${String(varied)}, ${Vary}`);
  for (const [name, value] of Object.entries(headers)) reply.header(name, value);
  // Fastify makes JSON of an object only if no hook has set another type.
  reply.header('Content-Type', 'application/json; charset=utf-8');
  reply.code(status);
  reply.send(body);
}

class FastifyExchange extends NodeExchange {
  readonly #request: FastifyRequest;

  constructor(request: FastifyRequest, reply: FastifyReply) {
    super(request.raw, reply.raw);
    this.#request = request;
  }

  get isSecure(): boolean {
    return this.#request.protocol === 'https';
  }

  ip(): string | undefined {
    return this.#request.ip;
  }

  host(): string | undefined {
    return this.#request.host;
  }
}

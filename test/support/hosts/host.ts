import { type IncomingHttpHeaders, IncomingMessage, type RequestListener, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { MemoryStore, TokenManager } from 'tokensession';
import type { RequestSession, SessionMiddlewareOptions } from 'tokensession/express';
import type { Connection } from 'tokensession/node';
import { SECRET } from '../stores';

/** The session of a request, on any host. */
export type AnySession = RequestSession<unknown>;

/** A request as the handlers in tests see it. */
export interface Visit {
  /** Node's request and response, beneath those of the host. */
  req: IncomingMessage;
  res: ServerResponse;
  path: string;
  query: URLSearchParams;
  /** The object with the session: Express's request, Koa's context. */
  holder: { session: AnySession; auth: AnySession } & Record<string, unknown>;
  session: AnySession;
  /** The host's own way to delete a cookie. */
  clearCookie(name: string, path: string): void;
  setHeader(name: string, value: string): void;
}

export interface Mount {
  manager: TokenManager;
  options?: SessionMiddlewareOptions;
  /** Whether the application swallows the errors of this middleware. */
  isSwallowed?: boolean;
}

/**
 * `page`: `user`, with a redirect to `/login`. `recent`: within {@link RECENT} seconds. `of auth`: of the session at
 * the property `auth`, on hosts with middleware.
 */
export type GuardName = 'user' | 'page' | 'recent' | 'user of auth' | 'recent of auth';

/** Seconds for which the guard `recent` accepts a proof of identity as recent. */
export const RECENT = 60;

/** A small application. */
export interface Plan {
  mounts: readonly Mount[];
  /** Whether the host trusts `X-Forwarded-Proto`, `-For` and `-Host`. */
  trustProxy?: boolean;
  guardOf(path: string): GuardName | undefined;
  /** Its result is sent as JSON, unless it has sent a response. */
  handle(visit: Visit): unknown;
}

/** A request as a middleware gets it, without a connection, so that even headers that Node refuses pass. */
export interface DirectRequest {
  method: string;
  url: string;
  secure: boolean;
  headers: IncomingHttpHeaders;
}

interface DirectAnswer {
  session: AnySession;
  /** Sends the response, and returns the headers that it sets. */
  setCookie(): Promise<readonly string[]>;
}

/** A host that the middleware is for: a line in each table of tests. */
export interface Host {
  build(plan: Plan): RequestListener;
  /**
   * The middleware alone: rejects with the error that it passes to the host. Throws for invalid options, as at the
   * set-up of an application.
   */
  direct(manager: TokenManager, options?: SessionMiddlewareOptions): (request: DirectRequest) => Promise<DirectAnswer>;
  /** Sets a guard up with these arguments, or calls it with them if it needs no set-up. */
  requireUser(...given: unknown[]): unknown;
  requireRecentLogin(...given: unknown[]): unknown;
  /** Whether middleware and guards are set up once; otherwise each request calls them. */
  hasMiddleware: boolean;
  /** Whether the session is a property of an object. */
  hasProperty: boolean;
  /** Whether an application can continue after an error of the middleware. */
  canSwallow: boolean;
  /** Whether its responses are Node's, with `writeHead`. */
  isNode: boolean;
  /** Whether it answers with an error after a status message that Node rejects. Fastify ends the process. */
  takesStatusMessages: boolean;
  /** Whether it serves a request whose `Host` is invalid. `@hono/node-server` answers 400. */
  takesAnyHost: boolean;
  /** Which of several forwarded hosts it trusts. */
  forwardedHost: 'first' | 'last';
  /** Begins the response, so that a cookie would be too late. */
  begin(session: AnySession, res: ServerResponse): void;
}

/** The guards of a host that sets them up once. */
export function guardsOf<Guard>(host: {
  requireUser(options?: { property?: string; redirectTo?: string }): Guard;
  requireRecentLogin(withinSeconds: number, options?: { property?: string }): Guard;
}): Record<GuardName, Guard> {
  return {
    user: host.requireUser(),
    page: host.requireUser({ redirectTo: '/login' }),
    recent: host.requireRecentLogin(RECENT),
    'user of auth': host.requireUser({ property: 'auth' }),
    'recent of auth': host.requireRecentLogin(RECENT, { property: 'auth' }),
  };
}

export const write = (_session: AnySession, res: ServerResponse) => void res.write('begun');

/** A request without a connection. */
export function exchange({ method, url, headers }: DirectRequest): { req: IncomingMessage; res: ServerResponse } {
  const req = new IncomingMessage(new Socket());
  Object.assign(req, { method, url });
  // An object without a prototype, as Node makes it.
  Object.defineProperty(req, 'headers', { value: Object.assign(Object.create(null), headers) });
  return { req, res: new ServerResponse(req) };
}

export async function cookiesOf(res: ServerResponse): Promise<string[]> {
  return [res.getHeader('Set-Cookie') ?? []].flat().map(String);
}

/** The forwarded value, for hosts that leave that to the application. Of several, the one nearest to the client. */
export function forwarded({ headers, socket }: IncomingMessage): Connection {
  const first = (name: string) => headers[name]?.toString().split(',', 1)[0]?.trim();
  const proto = first('x-forwarded-proto');
  return {
    ip: first('x-forwarded-for') ?? socket.remoteAddress,
    secure: proto === undefined ? undefined : proto === 'https',
    host: first('x-forwarded-host'),
  };
}

/** The options of an opener: it has no property. */
export function openerOptions(options: SessionMiddlewareOptions | undefined) {
  if (options === undefined || typeof options !== 'object' || options === null || Array.isArray(options))
    return options;
  const { property: _, ...others } = options;
  return others;
}

export const deletedCookie = (name: string, path: string) => `${name}=; Path=${path}; Max-Age=0`;

/** An anonymous session of this host. */
export async function anySession(host: Host): Promise<AnySession> {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  const { session } = await host.direct(manager)({ method: 'GET', url: '/', secure: true, headers: {} });
  await manager.close();
  return session;
}

/** The response of an application's own error handler to an error from elsewhere. */
export function statusOf(error: unknown): 500 {
  return ((error as { status?: 500 }).status ?? 500) as 500;
}

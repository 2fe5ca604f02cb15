import { type IncomingHttpHeaders, IncomingMessage, type RequestListener, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { MemoryStore, TokenManager } from 'tokensession';
import type { RequestSession, SessionMiddlewareOptions } from 'tokensession/express';
import type { Connection } from 'tokensession/node';
import { SECRET } from '../stores';

/** The session of a request, on any host. */
export type AnySession = RequestSession<unknown>;

/** A request as the handlers of tests see it. */
export interface Visit {
  /** Those of Node, beneath whatever the host makes of them. */
  req: IncomingMessage;
  res: ServerResponse;
  path: string;
  query: URLSearchParams;
  /** Holds the session: Express's request, Koa's context. */
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

/** `page`: `user`, with a redirect to `/login`. `recent`: within {@link RECENT} seconds. */
export type GuardName = 'user' | 'page' | 'recent';

/** Seconds for which the guard `recent` takes a proof of identity for recent. */
export const RECENT = 60;

/** A small application. */
export interface Plan {
  mounts: readonly Mount[];
  /** Whether the host believes `X-Forwarded-Proto`, `-For` and `-Host`. */
  trustProxy?: boolean;
  guardOf(path: string): GuardName | undefined;
  /** Its result is sent as JSON, unless it has sent something. */
  handle(visit: Visit): unknown;
}

/** A request as a middleware gets it, without a connection: what Node's parser would refuse comes through, too. */
export interface DirectRequest {
  method: string;
  url: string;
  secure: boolean;
  headers: IncomingHttpHeaders;
}

export interface DirectAnswer {
  session: AnySession;
  /** Sends the response, and gives what it sets. */
  setCookie(): Promise<readonly string[]>;
}

/** A host that the middleware is for: a line in each table of tests. */
export interface Host {
  build(plan: Plan): RequestListener;
  /**
   * The middleware alone: rejects with what it hands to the host's error path. Throws for options that are wrong, as
   * when an application is set up.
   */
  direct(manager: TokenManager, options?: SessionMiddlewareOptions): (request: DirectRequest) => Promise<DirectAnswer>;
  /** Sets a guard up with these arguments, or uses it with them where that is one. */
  requireUser(...given: unknown[]): unknown;
  requireRecentLogin(...given: unknown[]): unknown;
  /** Whether it has middleware and guards that are set up once; else each request calls them. */
  hasMiddleware: boolean;
  /** Whether the session is a property of an object. */
  hasProperty: boolean;
  /** Whether an application can go on after an error of the middleware. */
  canSwallow: boolean;
  /** Whether its responses are Node's, for `writeHead`. */
  isNode: boolean;
  /** Whether it answers with an error after a status message that Node refuses. Fastify ends the process. */
  takesStatusMessages: boolean;
  /** Whether it hands on a request whose `Host` is no host. `@hono/node-server` answers 400. */
  takesAnyHost: boolean;
  /** Which of several forwarded hosts it believes. */
  forwardedHost: 'first' | 'last';
  /** Begins the response, after which a cookie is too late. */
  begin(session: AnySession, res: ServerResponse): void;
}

export const write = (_session: AnySession, res: ServerResponse) => void res.write('begun');

/** Without a connection. */
export function exchange({ method, url, headers }: DirectRequest): { req: IncomingMessage; res: ServerResponse } {
  const req = new IncomingMessage(new Socket());
  Object.assign(req, { method, url });
  // An object of its own, as node makes it: with the prototype of none.
  Object.defineProperty(req, 'headers', { value: Object.assign(Object.create(null), headers) });
  return { req, res: new ServerResponse(req) };
}

export async function cookiesOf(res: ServerResponse): Promise<string[]> {
  return [res.getHeader('Set-Cookie') ?? []].flat().map(String);
}

/** What a proxy says, for hosts that leave that to the application. Of several, the one nearest to the client. */
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

/** A session of this host, of nobody. */
export async function anySession(host: Host): Promise<AnySession> {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  const { session } = await host.direct(manager)({ method: 'GET', url: '/', secure: true, headers: {} });
  await manager.close();
  return session;
}

/** What an application of its own error handling answers an error with that is not of this package. */
export function statusOf(error: unknown): 500 {
  return ((error as { status?: 500 }).status ?? 500) as 500;
}

import { type IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forKoa from 'tokensession/koa';

export type DirectSession = forExpress.RequestSession<unknown>;

/** A request as a middleware gets it, without a connection: what node's parser would refuse comes through, too. */
export interface DirectRequest {
  method: string;
  url: string;
  secure: boolean;
  headers: IncomingHttpHeaders;
}

type Middleware = (request: DirectRequest) => Promise<{ session: DirectSession; res: ServerResponse }>;

/** The middleware alone, on each framework; rejects with what it hands to the framework's error path. */
export function directMiddlewares(
  manager: TokenManager,
  options?: forExpress.SessionMiddlewareOptions,
): { name: string; send: Middleware }[] {
  const express = forExpress.sessionMiddleware(manager, options);
  const koa = forKoa.sessionMiddleware(manager, options);
  return [
    {
      name: 'Express',
      send: async (request) => {
        const { req, res } = exchange(request);
        const more = { secure: request.secure, ip: '::1', originalUrl: request.url, app: { get: () => () => false } };
        const made = Object.assign(req, more, { session: undefined as unknown });
        await new Promise<void>((resolve, reject) =>
          express(made, res, (error) => (error ? reject(error) : resolve())),
        );
        return { session: made.session as DirectSession, res };
      },
    },
    {
      name: 'Koa',
      send: async (request) => {
        const { req, res } = exchange(request);
        const { secure, url, headers } = request;
        const ctx = { req, res, secure, originalUrl: url, ip: '::1', host: headers.host ?? '', session: undefined };
        await koa(ctx as unknown as Parameters<typeof koa>[0], async () => undefined);
        return { session: ctx.session as unknown as DirectSession, res };
      },
    },
  ];
}

function exchange({ method, url, headers }: DirectRequest): { req: IncomingMessage; res: ServerResponse } {
  const req = new IncomingMessage(new Socket());
  Object.assign(req, { method, url });
  // An object of its own, as node makes it: with the prototype of none.
  Object.defineProperty(req, 'headers', { value: Object.assign(Object.create(null), headers) });
  return { req, res: new ServerResponse(req) };
}

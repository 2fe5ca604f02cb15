import express5 from 'express';
import Koa3 from 'koa';
import type { TokenManager } from 'tokensession';
import type { SessionMiddlewareOptions } from 'tokensession/express';
import { expressHost } from './hosts/express';
import { fastifyHost } from './hosts/fastify';
import { fetchHost } from './hosts/fetch';
import { honoHost } from './hosts/hono';
import type { Host } from './hosts/host';
import { koaHost } from './hosts/koa';
import { nodeHost } from './hosts/node';

/** All hosts that there is an adapter for. */
export const HOSTS = {
  'Express 5': expressHost(express5),
  'Express 4': expressHost(require('express4')),
  'Koa 3': koaHost(Koa3),
  'Koa 2': koaHost(require('koa2')),
  Fastify: fastifyHost,
  Hono: honoHost,
  'node:http': nodeHost,
  fetch: fetchHost,
} as const satisfies Record<string, Host>;

/** The same as an array of entries. */
export const ALL_HOSTS: [name: string, host: Host][] = Object.entries(HOSTS);

/** The middleware alone, on each host. */
export const directMiddlewares = (manager: TokenManager, options?: SessionMiddlewareOptions) =>
  ALL_HOSTS.map(([name, host]) => ({ name, send: host.direct(manager, options) }));

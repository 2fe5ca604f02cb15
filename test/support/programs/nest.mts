import 'reflect-metadata';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  HttpException,
  type MiddlewareConsumer,
  Module,
  type NestModule,
  Post,
  Req,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Request, Response } from 'express';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import {
  requireRecentLogin,
  requireUser,
  type SessionMiddlewareOptions,
  sessionMiddleware,
} from 'tokensession/express';
import { PATIENT, SECRET } from '../stores.js';

/* An application of NestJS, once with Nest's own exception filter and once with one of the application. Decorators are called, not written. */

class Sessions {
  me(req: Request) {
    return req.session.user;
  }

  vault(req: Request) {
    return req.session.user;
  }

  async login(req: Request) {
    await req.session.login(String(req.query.user));
    return req.session.user;
  }

  async logout(req: Request) {
    await req.session.logout({ everywhere: true });
    return null;
  }
}
Controller()(Sessions);
route('me', Get('me'));
route('vault', Get('vault'));
route('login', Post('login'));
route('logout', Post('logout'));

function route(name: keyof Sessions, decorate: MethodDecorator): void {
  decorate(Sessions.prototype, name, Object.getOwnPropertyDescriptor(Sessions.prototype, name) ?? {});
  Req()(Sessions.prototype, name, 0);
}

class App implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(requireUser()).forRoutes('me');
    consumer.apply(requireRecentLogin(60)).forRoutes('vault');
  }
}
Module({ controllers: [Sessions] })(App);

class CodeFilter implements ExceptionFilter {
  catch(thrown: unknown, host: ArgumentsHost): void {
    // Nest wraps an error of a middleware with a status under 500.
    const error = thrown instanceof HttpException ? thrown.cause : thrown;
    const { status, code } = error instanceof SessionError ? error : { status: 500, code: String(thrown) };
    host.switchToHttp().getResponse<Response>().status(status).json({ code });
  }
}
Catch()(CodeFilter);

async function start(options: SessionMiddlewareOptions, filter?: ExceptionFilter): Promise<string> {
  const store = new RedisStore(process.env.REDIS_URL ?? '', PATIENT);
  const getUserInfo = (id: string) => (id === 'nobody' ? null : { name: id });
  const app = await NestFactory.create(App, { logger: false });
  app.use(sessionMiddleware(new TokenManager({ store, secret: SECRET, getUserInfo }), options));
  if (filter !== undefined) app.useGlobalFilters(filter);
  await app.listen(0, '127.0.0.1');
  return app.getUrl();
}

async function main(): Promise<void> {
  const urls = [
    await start({}),
    await start({}, new CodeFilter()),
    await start({ onUnavailable: 'anonymous' }),
    await start({ onUnavailable: 'anonymous' }, new CodeFilter()),
  ];
  console.log(`listening: ${JSON.stringify(urls)}`);
}

void main();

import 'reflect-metadata';
import type { ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { MemoryStore, TokenManager } from 'tokensession';
import { type RequestSession, sessionOpener } from 'tokensession/fetch';
import { Public, RecentLogin, SessionGuard } from '../../../examples/nestjs/session.mjs';
import { SECRET } from '../stores.js';

/* Prints how the guard of examples/nestjs judges an anonymous request, by what its controller and its handler say. */

const SAYINGS = { nothing: [], public: [Public()], 'recent login': [RecentLogin(60)] };

async function judge(session: RequestSession, ofController: ClassDecorator[], ofHandler: MethodDecorator[]) {
  class Controller {
    handle() {}
  }
  const handler = Object.getOwnPropertyDescriptor(Controller.prototype, 'handle') ?? {};
  for (const decorate of ofController) decorate(Controller);
  for (const decorate of ofHandler) decorate(Controller.prototype, 'handle', handler);
  const context = {
    getClass: () => Controller,
    getHandler: () => Controller.prototype.handle,
    switchToHttp: () => ({ getRequest: () => ({ session }) }),
  } as unknown as ExecutionContext;
  return new SessionGuard(new Reflector()).canActivate(context).catch((error) => error.status);
}

const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
const session = await sessionOpener(manager)(new Request('http://app/'));
const outcomes: Record<string, unknown> = {};
for (const [controller, ofController] of Object.entries(SAYINGS)) {
  for (const [handler, ofHandler] of Object.entries(SAYINGS)) {
    outcomes[`${controller}, ${handler}`] = await judge(session, ofController, ofHandler);
  }
}
console.log(JSON.stringify(outcomes));
await manager.close();

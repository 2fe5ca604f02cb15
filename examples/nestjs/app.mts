import 'reflect-metadata';
import { Body, Controller, Delete, Get, HttpCode, Inject, Module, type OnModuleDestroy, Post } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { TokenManager, type User } from 'tokensession';
import type { RequestSession } from 'tokensession/node';
import { secretFromEnvironment, storeFromEnvironment } from '../settings.js';
import { CurrentSession, CurrentUser, Public, RecentLogin, SessionErrorFilter, SessionGuard } from './session.mjs';

/** Stands in for a database. */
const USERS = new Map([
  ['ada', { name: 'Ada Lovelace' }],
  ['grace', { name: 'Grace Hopper' }],
]);

const sessions = {
  provide: TokenManager,
  useFactory: () =>
    new TokenManager({
      store: storeFromEnvironment(),
      secret: secretFromEnvironment(),
      getUserInfo: (id) => USERS.get(id),
    }),
};

@Controller()
class AccountController implements OnModuleDestroy {
  constructor(@Inject(TokenManager) private readonly sessions: TokenManager) {}

  @Public()
  @Get('/')
  home(@CurrentUser() user: User | null) {
    return { hello: user?.id ?? 'stranger' };
  }

  @Public()
  @HttpCode(200)
  @Post('/login') // check a password here
  async login(@CurrentSession() session: RequestSession, @Body() body: { user?: string } = {}) {
    await session.login(String(body.user));
    return session.user;
  }

  @HttpCode(204)
  @Post('/logout')
  async logout(@CurrentSession() session: RequestSession) {
    await session.logout();
  }

  @Get('/me')
  me(@CurrentUser() user: User) {
    return user;
  }

  @Get('/sessions')
  list(@CurrentUser() user: User) {
    return this.sessions.listUserSessions(user.id);
  }

  @RecentLogin(60)
  @Delete('/sessions')
  async endAll(@CurrentUser() user: User) {
    return { ended: await this.sessions.deleteUserToken(user.id) };
  }

  onModuleDestroy() {
    return this.sessions.close();
  }
}

@Module({
  controllers: [AccountController],
  providers: [
    sessions,
    { provide: APP_GUARD, useClass: SessionGuard },
    { provide: APP_FILTER, useClass: SessionErrorFilter },
  ],
})
export class AppModule {}

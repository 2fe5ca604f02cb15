import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  createParamDecorator,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
} from '@nestjs/common';
import { BaseExceptionFilter, HttpAdapterHost, Reflector } from '@nestjs/core';
import { SessionError } from 'tokensession';
import { type RequestSession, requireRecentLogin, requireUser } from 'tokensession/node';

/** Marks a handler, or a whole controller, that needs no user. */
export const Public = () => SetMetadata('public', true);

/** Requires a login or a `session.reauthenticated()` within `seconds`, also in a public controller. */
export const RecentLogin = (seconds: number) => SetMetadata('recent login', seconds);

/** A request of either platform. */
const sessionOf = (context: ExecutionContext): RequestSession => context.switchToHttp().getRequest().session;

/** The session of the request. */
export const CurrentSession = createParamDecorator((_: unknown, context: ExecutionContext) => sessionOf(context));

/** The user of the request; `null` for an anonymous one behind `@Public()`. */
export const CurrentUser = createParamDecorator((_: unknown, context: ExecutionContext) => sessionOf(context).user);

/** Requires a user for everything that is not public. */
@Injectable()
export class SessionGuard implements CanActivate {
  constructor(@Inject(Reflector) private readonly reflector: Reflector) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    // What a handler says counts more than what its controller says.
    for (const place of [context.getHandler(), context.getClass()]) {
      const seconds: number | undefined = this.reflector.get('recent login', place);
      if (seconds !== undefined) return (await requireRecentLogin(sessionOf(context), seconds)) !== null;
      if (this.reflector.get('public', place)) return true;
    }
    return requireUser(sessionOf(context)) !== null;
  }
}

/**
 * Answers errors of guards, logins and the middleware like the other hosts, with the reason of an ended session. Nest
 * answers all other errors.
 */
@Catch()
export class SessionErrorFilter extends BaseExceptionFilter {
  constructor(@Inject(HttpAdapterHost) private readonly host: HttpAdapterHost) {
    super(host.httpAdapter);
  }

  override catch(thrown: Error, context: ArgumentsHost): void {
    // Nest wraps errors of an Express middleware.
    const error = thrown.cause instanceof SessionError ? thrown.cause : thrown;
    if (error instanceof SessionError) {
      this.host.httpAdapter.reply(context.switchToHttp().getResponse(), error.body, error.status);
    } else {
      super.catch(thrown, context);
    }
  }
}

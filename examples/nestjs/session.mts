import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  createParamDecorator,
  type ExceptionFilter,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
} from '@nestjs/common';
import { HttpAdapterHost, Reflector } from '@nestjs/core';
import { SessionError } from 'tokensession';
import { type RequestSession, requireRecentLogin, requireUser } from 'tokensession/node';

/** Lets requests without a user reach a handler, or all of a controller. */
export const Public = () => SetMetadata('public', true);

/** Lets a handler be reached within `seconds` of a login, or of a `session.reauthenticated()`. */
export const RecentLogin = (seconds: number) => SetMetadata('recent login', seconds);

/** A request of both platforms. */
const sessionOf = (context: ExecutionContext): RequestSession => context.switchToHttp().getRequest().session;

/** The session of the request. */
export const CurrentSession = createParamDecorator((_: unknown, context: ExecutionContext) => sessionOf(context));

/** The user of the request; `null` where nobody is signed in, behind `@Public()`. */
export const CurrentUser = createParamDecorator((_: unknown, context: ExecutionContext) => sessionOf(context).user);

/** Requires a user for everything that is not public. */
@Injectable()
export class SessionGuard implements CanActivate {
  constructor(@Inject(Reflector) private readonly reflector: Reflector) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride('public', places)) return true;
    const seconds: number | undefined = this.reflector.getAllAndOverride('recent login', places);
    const session = sessionOf(context);
    if (seconds === undefined) requireUser(session);
    else await requireRecentLogin(session, seconds);
    return true;
  }
}

/** Answers what guards, logins and the middleware reject with as the other hosts do: why a session has ended, too. */
@Catch()
export class SessionErrorFilter implements ExceptionFilter {
  constructor(@Inject(HttpAdapterHost) private readonly host: HttpAdapterHost) {}

  catch(thrown: Error, context: ArgumentsHost): void {
    // Nest wraps what a middleware of Express rejects with.
    const error = thrown.cause instanceof SessionError ? thrown.cause : thrown;
    if (!(error instanceof SessionError)) throw thrown;
    this.host.httpAdapter.reply(context.switchToHttp().getResponse(), error.body, error.status);
  }
}

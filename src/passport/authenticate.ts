import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import { checkFunction, checkString, kindOf, optional, readOptions, readUserId } from '../errors/arguments';
import { checkRedirectTo, safeReturnTo } from '../http/guards/return-to';
import { LOGIN_OPTIONS, type LoginOptions } from '../http/session/login-options';
import { checkProperty } from '../http/session/middleware-options';
import type { RequestSession } from '../http/session/request-session';
import { chosenSession } from '../http/session/session-place';

/** The used part of passport. */
export interface Passport {
  /** Makes a middleware of a strategy. */
  authenticate(strategy: never, options: never, callback: never): unknown;
  /** Transforms the info that a strategy passes along with a user. */
  transformAuthInfo?(info: unknown, request: never, done: never): unknown;
}

/** A message to the user: a text, or `true` for the message of the strategy. */
export type Message = string | boolean;

/** A message for the data's key `flash`. An object can also set its type. */
export type FlashMessage = Message | { type?: string; message?: string };

/** Options of {@link authenticate}. */
export interface AuthenticateOptions {
  /** Returns the id of the strategy's user: a string or a number. Default: `user.id`. */
  userIdOf?: ((user: never) => unknown) | undefined;
  /** Options for `session.login`. Default: none. */
  login?: LoginOptions | undefined;
  /** The option `property` of `sessionMiddleware()`. A request with several sessions needs it. Default: its only one. */
  property?: string | undefined;
  /** The path of this site to redirect to after a login. Default: the next handler answers. */
  successRedirect?: string | undefined;
  /**
   * The path to redirect to after a login unless the data's key `returnTo` holds a path of this site. Deletes that key.
   * Default: `successRedirect`, without a look at `returnTo`.
   */
  successReturnToOrRedirect?: string | undefined;
  /** The path of this site to redirect to after a failed login. Default: an answer with the strategy's status or 401. */
  failureRedirect?: string | undefined;
  /** A text to append to the data's key `messages` after a login. Default: none. */
  successMessage?: Message | undefined;
  /** A text to append to the data's key `messages` after a failed login. Default: none. */
  failureMessage?: Message | undefined;
  /**
   * A text to append to the data's key `flash` after a login: an object of texts by type, as connect-flash stores it.
   * The type is `success` unless the object sets one; with `true`, unless the strategy does. Default: none.
   */
  successFlash?: FlashMessage | undefined;
  /** The same after a failed login, with the type `error`. Default: none. */
  failureFlash?: FlashMessage | undefined;
  /** Other options are passed to the strategy. */
  [option: string]: unknown;
}

const FLASH = { type: optional(checkString, undefined), message: optional(checkString, undefined) };

/** Options of passport that have another meaning here, and their replacement. */
const REFUSED = {
  session: 'it always signs in with session.login()',
  keepSessionInfo: 'name what to keep in login: { keep: […] }',
  assignProperty: 'use passport.authorize()',
} as const;

/** For errors of a request without a session. */
const CALLER = 'tokensession/passport';

const NO_CALLBACK =
  'authenticate takes no callback: call passport.authenticate(strategy, { session: false }, callback), ' +
  'and session.login() in the callback';

type Next = (error?: unknown) => void;
type Middleware = (request: IncomingMessage, response: ServerResponse, next: Next) => void;
type Data = RequestSession<unknown>['data'];

/** The key of session data with the path to redirect to after a login. */
const RETURN_TO = 'returnTo';

/** The result of a strategy: a user, or why there is none. */
interface Verdict {
  user: unknown;
  info: unknown;
  status: unknown;
}

/**
 * Makes a middleware that does what `passport.authenticate()` does, but signs in with `session.login()`. Messages and
 * `returnTo` are kept in the session's data, and are stored before the redirect. The login ends the visitor's session;
 * `login: { keep: […] }` names the keys of its data to keep.
 *
 * @throws TypeError or RangeError for an invalid option; TypeError for `session`, `keepSessionInfo` and
 *   `assignProperty`, and for a callback.
 * @example
 * const options = { successRedirect: '/', failureRedirect: '/login', failureMessage: true };
 * app.post('/login', authenticate(passport, 'local', options));
 */
export function authenticate(
  passport: Passport,
  strategy: string | readonly string[] | object,
  options?: AuthenticateOptions,
): Middleware;
export function authenticate(
  passport: Passport,
  strategy: string | readonly string[] | object,
  options: AuthenticateOptions = {},
  callback?: unknown,
): Middleware {
  if (typeof passport?.authenticate !== 'function') {
    throw new TypeError(`authenticate needs a passport, got ${kindOf(passport)}`);
  }
  // Uncalled, it could no longer refuse a user.
  if (typeof options === 'function' || callback !== undefined) throw new TypeError(NO_CALLBACK);
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`authenticate's options must be an object, got ${kindOf(options)}`);
  }
  const { userIdOf, login, property, successMessage, failureMessage, successFlash, failureFlash, ...others } = options;
  const { successRedirect, successReturnToOrRedirect, failureRedirect, failWithError, ...rest } = others;
  for (const [name, value] of Object.entries({ successRedirect, successReturnToOrRedirect })) {
    if (value !== undefined) checkRedirectTo(`option ${name}`, value);
  }
  if (failureRedirect !== undefined) checkRedirectTo('option failureRedirect', failureRedirect);
  for (const [name, instead] of Object.entries(REFUSED)) {
    if (rest[name] !== undefined) throw new TypeError(`authenticate has no option ${name}: ${instead}`);
  }
  if (userIdOf !== undefined) checkFunction('option userIdOf', userIdOf);
  readOptions('option login', login, LOGIN_OPTIONS, 'option login.');
  for (const [name, value] of Object.entries({ successMessage, failureMessage })) checkMessage(`option ${name}`, value);
  for (const [name, value] of Object.entries({ successFlash, failureFlash })) {
    if (typeof value === 'object') readOptions(`option ${name}`, value, FLASH, `option ${name}.`);
    else checkMessage(`option ${name}`, value);
  }
  const named = property === undefined ? null : checkProperty('option property', property);
  const idOf = (userIdOf as ((user: unknown) => unknown) | undefined) ?? ((user) => (user as { id?: unknown }).id);

  const signIn = async (request: IncomingMessage, { user, info }: Verdict): Promise<string | undefined> => {
    const session = chosenSession(request, named, CALLER);
    const userId = readUserId("the user's id, see the option userIdOf,", idOf(user));
    const returnTo = successReturnToOrRedirect === undefined ? undefined : await session.data.get(RETURN_TO);
    await session.login(userId, login);
    // Not before, so that a failed login takes nothing from the visitor. The login has ended the visitor's other data.
    if (returnTo !== undefined && login?.keep?.includes(RETURN_TO)) await session.data.delete(RETURN_TO);
    await keepMessages(session.data, 'success', info, successMessage, successFlash);
    const authInfo = rest.authInfo !== false && { authInfo: await authInfoOf(passport, info ?? {}, request) };
    Object.assign(request, { user, ...authInfo });
    const wanted = safeReturnTo(returnTo);
    return wanted === returnTo ? wanted : (successReturnToOrRedirect ?? successRedirect);
  };

  return (request, response, next) => {
    const answer = async (verdict: Verdict): Promise<void> => {
      if (verdict.user) {
        const location = await signIn(request, verdict);
        return location === undefined ? next() : redirect(response, location);
      }
      const [info] = [verdict.info].flat();
      await keepMessages(chosenSession(request, named, CALLER).data, 'error', info, failureMessage, failureFlash);
      if (failureRedirect !== undefined) return redirect(response, failureRedirect);
      const status = [verdict.status].flat().find((one) => typeof one === 'number') ?? 401;
      refuse(response, status, [verdict.info].flat());
      if (failWithError) return next(authenticationError(status));
      response.setHeader('Content-Type', 'application/json; charset=utf-8');
      response.end(JSON.stringify({ error: 'unauthenticated' }));
    };
    const callback = (error: unknown, user: unknown, info: unknown, status: unknown) => {
      if (error) return next(error);
      answer({ user, info, status }).catch(next);
    };
    const run = passport.authenticate(strategy as never, { ...rest, session: false } as never, callback as never);
    (run as Middleware)(request, response, next);
  };
}

function checkMessage(name: string, value: unknown): void {
  if (value === undefined || typeof value === 'string' || typeof value === 'boolean') return;
  throw new TypeError(`${name} must be a text, true or false, got ${kindOf(value)}`);
}

async function keepMessages(
  data: Data,
  kind: 'success' | 'error',
  info: unknown,
  message: Message | undefined,
  flash: FlashMessage | undefined,
): Promise<void> {
  const text = textOf(message, info);
  if (text !== undefined) await data.update('messages', (texts) => [...textsIn(texts), text]);
  const isObject = typeof flash === 'object';
  const flashed = textOf(isObject ? (flash.message ?? true) : flash, info);
  if (flashed === undefined) return;
  const type = (isObject ? flash.type : flash === true && (info as { type?: string } | undefined)?.type) || kind;
  await data.update('flash', (flashes) => {
    const known = typeof flashes === 'object' && flashes !== null ? (flashes as Record<string, unknown>) : {};
    return { ...known, [type]: [...textsIn(known[type]), flashed] };
  });
}

function textOf(message: Message | undefined, info: unknown): string | undefined {
  if (typeof message === 'string') return message;
  const said = message === true ? ((info as { message?: unknown } | undefined)?.message ?? info) : undefined;
  return typeof said === 'string' ? said : undefined;
}

function textsIn(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function authInfoOf(passport: Passport, info: unknown, request: object): Promise<unknown> {
  if (typeof passport.transformAuthInfo !== 'function') return Promise.resolve(info);
  return new Promise((resolve, reject) => {
    const done = (error: unknown, transformed: unknown) => (error ? reject(error) : resolve(transformed));
    passport.transformAuthInfo?.(info, request as never, done as never);
  });
}

function redirect(response: ServerResponse, location: string): void {
  response.statusCode = 302;
  response.setHeader('Location', location);
  response.setHeader('Content-Length', '0');
  response.end();
}

/** Sets the status of a refusal, and the challenges of its strategies. */
function refuse(response: ServerResponse, status: number, challenges: readonly unknown[]): void {
  const texts = challenges.filter((challenge) => typeof challenge === 'string');
  response.statusCode = status;
  if (status === 401 && texts.length > 0) response.setHeader('WWW-Authenticate', texts);
}

/** The error of passport's `failWithError`. Error handlers know it by its name. */
function authenticationError(status: number): Error {
  return Object.assign(new Error(STATUS_CODES[status]), { name: 'AuthenticationError', status });
}

import type { RegisteredDetail } from '../../manager/types';
import type { Exchange } from '../exchange/exchange';
import type { RegisteredProperty, SessionPolicy } from './middleware-options';
import { openSession, reopenSession } from './opening';
import { currentOf, RequestSession } from './request-session';

/**
 * The property that the middleware adds to a request or context. `Detail` and `Property` come from its manager and
 * options.
 */
export type SessionContext<Detail = RegisteredDetail, Property extends string = RegisteredProperty> = {
  [Key in Property]: RequestSession<Detail>;
};

const places = new Map<string, SessionPlace>();

/**
 * Where a request holds the last opened session. Nothing else is stored there: each further property or object costs an
 * Express request several µs, and a WeakMap more. A property, and no private field, so that a wrapped request,
 * `Object.create(req)`, has the session, too.
 */
const LATEST = Symbol('tokensession');

type Holder = { [LATEST]?: RequestSession<unknown> };

/** The session that another middleware had opened on the same request before. */
const earlierOf = new WeakMap<RequestSession<unknown>, RequestSession<unknown>>();

/**
 * The last opened session of a request, at any property; also of a wrapped request, `Object.create(req)`. `null`: no
 * middleware has run.
 */
function sessionOf(request: object): RequestSession<unknown> | null {
  return (request as Holder)[LATEST] ?? null;
}

/**
 * The session of a request that a guard or a bridge acts on.
 *
 * @param property the property that the application names; `null` for the only one.
 * @param caller the guard or package that asks, for errors.
 * @param needs what puts the session there, for errors.
 * @throws TypeError when there is none, or when several properties hold sessions and none is named: a guard must not
 *   take a user of one manager for a user of another.
 */
export function chosenSession(
  request: object,
  property: string | null,
  caller: string,
  needs = 'sessionMiddleware()',
): RequestSession<unknown> {
  if (property !== null) {
    const named = sessionAt(request, property);
    if (named === undefined) throw new TypeError(`${caller} needs ${needs} with the property ${property} before it`);
    return named;
  }
  const session = sessionOf(request);
  if (session === null) throw new TypeError(`${caller} needs ${needs} before it`);
  // Without a second place, a request has one session.
  if (places.size < 2) return session;
  const other = earlierThan(session).find((one) => propertyOf(one) !== propertyOf(session));
  if (other === undefined) return session;
  const held = `${propertyOf(other)} and ${propertyOf(session)}`;
  throw new TypeError(`${caller} needs the option property: the request has sessions at ${held}`);
}

/** The session of a request at this property; `undefined` when no middleware has run. */
export function sessionAt(request: object, property: string): RequestSession<unknown> | undefined {
  let session = (request as Holder)[LATEST];
  while (session !== undefined && propertyOf(session) !== property) session = earlierOf.get(session);
  return session;
}

/** The sessions that were opened on the same request before this one, latest first. */
function earlierThan(session: RequestSession<unknown>): readonly RequestSession<unknown>[] {
  const earlier = earlierOf.get(session);
  return earlier === undefined ? [] : [earlier, ...earlierThan(earlier)];
}

function propertyOf(session: RequestSession<unknown>): string {
  return currentOf(session).policy.property;
}

/**
 * A property of requests that holds the session. Assigning to it throws, in sloppy mode too, and it can't be deleted or
 * redefined: an application that replaces it would mistake the user.
 */
export class SessionPlace {
  readonly #name: string;
  readonly #property: string;
  /** One for all requests. */
  readonly #descriptor: PropertyDescriptor;

  /** @param owner the host's name of the object: `req`, `ctx`. */
  static of(owner: string, property: string): SessionPlace {
    const name = `${owner}.${property}`;
    const place = places.get(name) ?? new SessionPlace(name, property);
    places.set(name, place);
    return place;
  }

  private constructor(name: string, property: string) {
    this.#name = name;
    this.#property = property;
    this.#descriptor = {
      enumerable: true,
      get(this: object) {
        return sessionAt(this, property);
      },
      set() {
        throw new TypeError(
          `${name} is tokensession's and takes nothing else: call its login() or logout(). Another session library needs a property of its own, or name one here with the option property`,
        );
      },
    };
  }

  /**
   * The session of a request; `null` when no middleware has run.
   *
   * @throws TypeError when another value is there.
   */
  find(request: object): RequestSession<unknown> | null {
    const present = (request as Record<string, unknown>)[this.#property];
    if (present === undefined) return null;
    if (present instanceof RequestSession) return present;
    throw new TypeError(
      `${this.#name} is taken by another middleware (express-session, koa-session?): only one of them can have it; the option property gives tokensession another`,
    );
  }

  /**
   * Opens the request's session and puts it there. A second middleware with the same manager changes nothing; one with
   * another manager replaces the session.
   *
   * @returns `undefined` when that needs no call to the store.
   * @throws or rejects when the session can't be opened, also at each later opening. TypeError when the manager's
   *   session is at another property.
   */
  open<Detail>(request: object, policy: SessionPolicy<Detail>, exchange: Exchange): Promise<void> | undefined {
    const present = this.find(request);
    if (present !== null && isManagedBy(present, policy.manager)) return reopenSession(currentOf(present));
    // A look for a missing property costs an Express request as much as all the rest of this.
    const earlier = places.size > 1 ? sessionOf(request) : null;
    if (earlier !== null) this.#refuseSecondPlace(request, [earlier, ...earlierThan(earlier)], policy);
    const session = new RequestSession(policy, exchange);
    if (earlier !== null) earlierOf.set(session as RequestSession<unknown>, earlier);
    (request as Holder)[LATEST] = session as RequestSession<unknown>;
    if (present === null) Object.defineProperty(request, this.#property, this.#descriptor);
    return openSession(currentOf(session));
  }

  /** A second session of one manager would stay signed in after a logout of the first. */
  #refuseSecondPlace<Detail>(
    request: object,
    earlier: readonly RequestSession<unknown>[],
    { manager }: SessionPolicy<Detail>,
  ): void {
    const same = earlier.find((one) => isManagedBy(one, manager) && sessionAt(request, propertyOf(one)) === one);
    if (same === undefined || propertyOf(same) === this.#property) return;
    throw new TypeError(
      `${this.#name} can't hold a second session of one manager: its session is at ${propertyOf(same)} already`,
    );
  }
}

/** Whether this manager's middleware made the session. */
export function isManagedBy(session: RequestSession<unknown>, manager: unknown): boolean {
  return currentOf(session).policy.manager === manager;
}

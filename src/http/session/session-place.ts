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

/** All places of this process, mostly one: their properties differ, or the objects that have them. */
const places: SessionPlace[] = [];

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
  let session: RequestSession<unknown> | undefined;
  for (const place of places) {
    const held = property === null || place.property === property ? place.sessionOf(request) : undefined;
    if (held === undefined) continue;
    if (session !== undefined) {
      const both = `${currentOf(session).policy.property} and ${place.property}`;
      throw new TypeError(`${caller} needs the option property: the request has sessions at ${both}`);
    }
    session = held;
  }
  if (session !== undefined) return session;
  throw new TypeError(`${caller} needs ${needs}${property === null ? '' : ` with the property ${property}`} before it`);
}

/** The session of a request that this manager's middleware has made; `undefined` when none has run. */
export function managedSession(request: object, manager: unknown): RequestSession<unknown> | undefined {
  return places
    .map((place) => place.sessionOf(request))
    .find((session) => session !== undefined && isManagedBy(session, manager));
}

type Holder = Record<symbol, RequestSession<unknown> | undefined>;

/**
 * A property of requests that holds the session. Assigning to it throws, in sloppy mode too, and it can't be deleted or
 * redefined: an application that replaces it would mistake the user.
 */
export class SessionPlace {
  readonly property: string;
  readonly #name: string;
  /**
   * Where a request holds the session. Nothing else is stored there: each further property or object costs an Express
   * request several µs, and a WeakMap more. A property, and no private field, so that a wrapped request,
   * `Object.create(req)`, has the session, too.
   */
  readonly #key = Symbol('tokensession');
  /** One for all requests. */
  readonly #descriptor: PropertyDescriptor;

  /** @param owner the host's name of the object: `req`, `ctx`. */
  static of(owner: string, property: string): SessionPlace {
    const name = `${owner}.${property}`;
    const known = places.find((place) => place.#name === name);
    if (known !== undefined) return known;
    const place = new SessionPlace(name, property);
    places.push(place);
    return place;
  }

  private constructor(name: string, property: string) {
    this.#name = name;
    this.property = property;
    const key = this.#key;
    this.#descriptor = {
      enumerable: true,
      get(this: Holder) {
        return this[key];
      },
      set() {
        throw new TypeError(
          `${name} is tokensession's and takes nothing else: call its login() or logout(). Another session library needs a property of its own, or name one here with the option property`,
        );
      },
    };
  }

  /** The session here that was opened last; `undefined` when no middleware has run. */
  sessionOf(request: object): RequestSession<unknown> | undefined {
    return (request as Holder)[this.#key];
  }

  /**
   * A value found in this place, as a session; `null` when no middleware has run.
   *
   * @throws TypeError for another value.
   */
  check(present: unknown): RequestSession<unknown> | null {
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
   * @throws or rejects when the session can't be opened, also at each later opening. TypeError when another value is
   *   there, or when the manager's session is at another property: it would stay signed in after a logout of this one.
   */
  open<Detail>(request: object, policy: SessionPolicy<Detail>, exchange: Exchange): Promise<void> | undefined {
    const present = this.check((request as Record<string, unknown>)[this.property]);
    if (present !== null && isManagedBy(present, policy.manager)) return reopenSession(currentOf(present));
    for (const place of places) {
      // A look for a missing property costs an Express request as much as all the rest of this.
      const other = place === this ? undefined : place.sessionOf(request);
      if (other === undefined || !isManagedBy(other, policy.manager)) continue;
      throw new TypeError(
        `${this.#name} can't hold a second session of one manager: its session is at ${place.property} already`,
      );
    }
    const session = new RequestSession(policy, exchange);
    (request as Holder)[this.#key] = session as RequestSession<unknown>;
    if (present === null) Object.defineProperty(request, this.property, this.#descriptor);
    return openSession(currentOf(session));
  }
}

/** Whether this manager's middleware made the session. */
export function isManagedBy(session: RequestSession<unknown>, manager: unknown): boolean {
  return currentOf(session).policy.manager === manager;
}

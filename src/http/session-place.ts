import type { RegisteredDetail } from '../manager/types';
import type { Exchange } from './exchange';
import type { SessionPolicy } from './middleware-options';
import type { RegisteredProperty } from './property';
import { RequestSession } from './request-session';

/** What the middleware adds to a request or context. `Detail` and `Property` come from its manager and options. */
export type SessionContext<Detail = RegisteredDetail, Property extends string = RegisteredProperty> = {
  [Key in Property]: RequestSession<Detail>;
};

const places = new Map<string, SessionPlace>();

/**
 * Where a request holds the session that was opened last on it. That one knows those of other properties. Nothing else
 * is kept there: each further property, or object, costs a request of Express several µs, and a WeakMap more.
 */
const LATEST = Symbol('tokensession');

type Holder = { [LATEST]?: RequestSession<unknown> };

/**
 * The session that was opened last on a request, whatever property shows it; also of one that was wrapped:
 * `Object.create(req)`. `null`: no middleware has been here.
 */
export function sessionOf(request: object): RequestSession<unknown> | null {
  return (request as Holder)[LATEST] ?? null;
}

/**
 * A property of requests that holds the session. Assigning to it throws, in sloppy mode too, and it can't be deleted or
 * defined anew: an application that put something else there would take its user for signed in, or for signed out.
 */
export class SessionPlace {
  readonly #name: string;
  readonly #property: string;
  /** One for all requests. */
  readonly #descriptor: PropertyDescriptor;

  /** @param owner what the host calls the object: `req`, `ctx`. */
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
      get(this: Holder) {
        return this[LATEST]?.at(property);
      },
      set() {
        throw new TypeError(
          `${name} is tokensession's and takes nothing else: call its login() or logout(). Another session library needs a property of its own, or name one here with the option property`,
        );
      },
    };
  }

  /**
   * The session of a request; `null` when no middleware has been here.
   *
   * @throws TypeError when something else is there.
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
   * Opens the request's session and puts it there. A second middleware with the same manager leaves it as it is; one
   * with another manager takes the place.
   *
   * @returns nothing when no store was asked.
   * @throws or rejects when the session can't be opened, and whenever it is opened again.
   */
  open<Detail>(request: object, policy: SessionPolicy<Detail>, exchange: Exchange): Promise<void> | undefined {
    const present = this.find(request);
    if (present?.isBy(policy.manager)) return present.reopen();
    // Looking for what isn't there costs a request of Express as much as all the rest of this.
    const earlier = places.size > 1 ? sessionOf(request) : null;
    const session = new RequestSession(policy, exchange, earlier);
    (request as Holder)[LATEST] = session as RequestSession<unknown>;
    if (present === null) Object.defineProperty(request, this.#property, this.#descriptor);
    return session.open();
  }
}

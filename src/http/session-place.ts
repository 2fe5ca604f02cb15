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
 * A request with the sessions that places have put there. Not in a WeakMap: with an entry a request, that is most of
 * what collecting garbage costs.
 */
type Holder = Record<symbol, RequestSession<never> | undefined>;

/** Where a request holds the session that was opened last, for the guards: whatever property shows it. */
const LATEST = Symbol('tokensession');

/**
 * The session of a request, also of one that was wrapped: `Object.create(req)`. `null`: no middleware has been here.
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
  /** Where a request holds the session of this place. */
  readonly #key: symbol;
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
    const key = Symbol(name);
    this.#key = key;
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
    const session = new RequestSession(policy, exchange);
    const holder = request as Holder;
    holder[this.#key] = session as RequestSession<never>;
    holder[LATEST] = session as RequestSession<never>;
    if (present === null) Object.defineProperty(request, this.#property, this.#descriptor);
    return session.open();
  }
}

import type { IncomingHttpHeaders } from 'node:http';
import { parseCookie } from 'cookie';
import { managerOn } from './contestants';

/** A user on a request. As with ours, nothing can be added. */
class Session {
  readonly #userId: string;

  constructor(userId: string) {
    this.#userId = userId;
    Object.preventExtensions(this);
  }

  get userId(): string {
    return this.#userId;
  }
}

const SESSION = Symbol('session');
type Holder = { [SESSION]?: Session };

/** As with ours, nothing can be put in the place of the session. */
const GUARDED: PropertyDescriptor = {
  enumerable: true,
  get(this: Holder) {
    return this[SESSION];
  },
  set() {
    throw new TypeError('the session of a request takes nothing else');
  },
};

interface Known {
  userId: string;
  until: number;
}

/**
 * The least that a cached session with our promises does: it looks for a token in a header and in the cookie, finds it
 * in memory, looks at its expiry, and guards the session on the request. It slides nothing, learns of no change, and
 * has neither an answer for a token that is not in memory, nor any other verb.
 */
export class CachedByHand {
  readonly #manager: ReturnType<typeof managerOn>;
  /** By the token. */
  readonly #known = new Map<string, Known>();

  constructor(url: string) {
    this.#manager = managerOn(url);
  }

  /** @returns a token of ours: cookies of another length would cost less. */
  async login(userId: string): Promise<string> {
    const token = await this.#manager.setToken(userId);
    this.#known.set(token, { userId, until: Number.POSITIVE_INFINITY });
    return token;
  }

  open(request: object, headers: IncomingHttpHeaders): void {
    const token = headers.authorization ?? parseCookie(headers.cookie ?? '').session;
    const known = token === undefined ? undefined : this.#known.get(token);
    if (known === undefined || performance.now() >= known.until) return;
    (request as Holder)[SESSION] = new Session(known.userId);
    Object.defineProperty(request, 'session', GUARDED);
  }
}

/** The user of a request; `undefined` for none. */
export function userIdOf(request: object): string | undefined {
  return (request as Holder)[SESSION]?.userId;
}

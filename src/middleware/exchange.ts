import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestTarget } from '../transport/cookie-scopes';

/** A request and its response, and what only the framework can tell of them. */
export interface Exchange extends RequestTarget {
  req: IncomingMessage;
  res: ServerResponse;
  /** Whether the client speaks HTTPS, by the framework's trust-proxy rule. */
  secure: boolean;
  /** The client's address, by the same rule. Asked for at a login only: it is dear to find out. */
  ip(): string | undefined;
}

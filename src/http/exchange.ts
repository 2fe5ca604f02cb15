import type { IncomingMessage, ServerResponse } from 'node:http';
import { MAX_ATTRIBUTE_LENGTH } from '../errors/arguments';
import type { SessionAttributes } from '../manager/types';
import type { RequestTarget } from './cookie-scopes';

/** A request and its response, and what only the framework can tell of them. */
export interface Exchange extends RequestTarget {
  req: IncomingMessage;
  res: ServerResponse;
  /** Whether the client speaks HTTPS, by the framework's trust-proxy rule. */
  secure: boolean;
  /** The request's cookies by their names, where another middleware has parsed them already. */
  readonly cookies?: unknown;
  /** The client's address, by the same rule. Asked for at a login only: it is dear to find out. */
  ip(): string | undefined;
}

/** Where a login comes from. What the client says is cut to length rather than refused: a login must not fail for a long header. */
export function originOf(exchange: Exchange): SessionAttributes {
  return {
    ip: exchange.ip()?.slice(0, MAX_ATTRIBUTE_LENGTH),
    userAgent: exchange.req.headers['user-agent']?.slice(0, MAX_ATTRIBUTE_LENGTH),
  };
}

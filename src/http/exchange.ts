import { MAX_ATTRIBUTE_LENGTH } from '../store/session-attributes';
import type { SessionAttributes } from '../store/store';
import type { ReplyHeaders } from './reply-headers';

/** A request and its response as a host gives them: the whole of what an adapter has to bring. */
export interface Exchange {
  /** The method as the client sent it. */
  readonly method: string;
  /** The method that the application sees: another one where a method override has been at work. */
  readonly handledMethod: string;
  /** The path and query as the client sent them, whatever a router has taken off. */
  readonly url: string;
  /** Whether the client speaks HTTPS, by the host's trust-proxy rule. */
  readonly isSecure: boolean;
  /** The request's cookies by their names, where the host has parsed them already. */
  readonly cookies?: unknown;
  /**
   * A header's value, by its name in lower case. Values of several headers are joined, unless the host keeps the first
   * alone.
   */
  header(name: string): string | undefined;
  /** Whether a header came more than once. */
  isRepeated(name: string): boolean;
  /** The host that the client asked for, with the port if it named one, by the trust-proxy rule. */
  host(): string | undefined;
  /** The client's address, by the same rule. */
  ip(): string | undefined;
  /**
   * Whether a cookie would not reach the client any more: the response has begun, its client has gone, or there is
   * none.
   */
  isTooLate(): boolean;
  /**
   * What the response will say; `null` when there is none, or it has begun. The same for all sessions of the request.
   */
  reply(): ReplyHeaders | null;
  /** Calls it once the response has been sent or its client has gone; at once where that is so, or there is none. */
  onClose(listener: () => void): void;
}

/** An IPv4 address in the form that a socket for IPv6 gives it (RFC 4291, 2.5.5.2): shown to users without that. */
const MAPPED_IPV4 = /^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i;

/**
 * Where a login comes from. What the client says is cut to length rather than refused: a login must not fail for a long
 * header.
 */
export function attributesOf(exchange: Pick<Exchange, 'ip' | 'header'>): SessionAttributes {
  return {
    ip: exchange.ip()?.replace(MAPPED_IPV4, '').slice(0, MAX_ATTRIBUTE_LENGTH),
    userAgent: exchange.header('user-agent')?.slice(0, MAX_ATTRIBUTE_LENGTH),
  };
}

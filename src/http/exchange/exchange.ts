import { MAX_ATTRIBUTE_LENGTH } from '../../store/session-attributes';
import type { SessionAttributes } from '../../store/store';
import type { ReplyHeaders } from './reply-headers';

/** A request and its response on a host: all that an adapter has to provide. */
export interface Exchange {
  /** The method as the client sent it. */
  readonly method: string;
  /** The method that the application sees, after a method override. */
  readonly handledMethod: string;
  /** The path and query as the client sent them, also inside a router. */
  readonly url: string;
  /** Whether the client speaks HTTPS, by the host's trust-proxy rule. */
  readonly isSecure: boolean;
  /** A header's value, by its name in lower case. Repeated headers are joined, unless the host keeps the first only. */
  header(name: string): string | undefined;
  isRepeated(name: string): boolean;
  /** The host that the client asked for, with the port if it named one, by the trust-proxy rule. */
  host(): string | undefined;
  /** The client's address, by the trust-proxy rule. */
  ip(): string | undefined;
  /**
   * Whether a cookie can no longer reach the client: the response has begun, the client has gone, or there is no
   * response.
   */
  isTooLate(): boolean;
  /** The headers of the response; `null` when there is none, or it has begun. One for all sessions of the request. */
  reply(): ReplyHeaders | null;
  /**
   * Calls the function once the response is sent or the client has gone; at once if so already, or without a response.
   *
   * @throws SessionError, after calling it, when the host no longer notices that.
   */
  onClose(listener: () => void): void;
  /**
   * Has the host's error handling answer with this error, in the place of the next answer of the application. A host
   * leaves it out where a thrown error always reaches its error handling.
   */
  divertAnswer?(error: Error): void;
}

/** The host in an absolute URL, for a request that has no header for it. */
export function hostIn(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).host : undefined;
}

/** Whether a header came more than once. `rawHeaders`: names and values in turn. */
export function isRepeatedIn(rawHeaders: readonly string[], name: string): boolean {
  return rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === name).length > 1;
}

/** An IPv4 address in the form of an IPv6 socket (RFC 4291, 2.5.5.2), which users should not see. */
const MAPPED_IPV4 = /^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i;

/** The origin of a login. Long values are cut, not refused: a login must not fail for a long header. */
export function attributesOf(exchange: Pick<Exchange, 'ip' | 'header'>): SessionAttributes {
  return {
    ip: exchange.ip()?.replace(MAPPED_IPV4, '').slice(0, MAX_ATTRIBUTE_LENGTH),
    userAgent: exchange.header('user-agent')?.slice(0, MAX_ATTRIBUTE_LENGTH),
  };
}

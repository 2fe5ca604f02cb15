import { checkBoolean, kindOf, optional, type Readers, readOptions } from '../errors/arguments';

/**
 * What a request's own connection can't say: behind a proxy that ends TLS, take it from the headers which that proxy
 * sets. Never from headers that a client may set itself.
 */
export interface Connection {
  /** The client's address, kept with a login. Default: what the host knows; `null` is none. */
  ip?: string | null | undefined;
  /** Whether the client speaks HTTPS: then the cookie is `__Host-session`. Default: what the host knows. */
  secure?: boolean | undefined;
  /** The host that the client asked for, with the port if it named one, for the origin check. Default: `Host`. */
  host?: string | null | undefined;
}

const READERS = {
  ip: checkTextOrNone,
  secure: optional(checkBoolean, undefined),
  host: checkTextOrNone,
} satisfies Readers<Connection>;

const UNKNOWN = { ip: undefined, secure: undefined, host: undefined };

/** @throws TypeError for a member that is unknown or of the wrong kind. */
export function readConnection(caller: string, connection: Connection | undefined) {
  return connection === undefined ? UNKNOWN : readOptions(caller, connection, READERS, '');
}

function checkTextOrNone(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, got ${kindOf(value)}`);
  return value;
}

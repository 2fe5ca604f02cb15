import { checkBoolean, checkString, optional, type Readers, readOptions } from '../../errors/arguments';

/**
 * Facts about the client that the request itself does not contain, behind a proxy for example. Take them from headers
 * that the proxy overwrites, never from headers that a client can set.
 */
export interface Connection {
  /** The client's address, kept with a login. Default: the host's; `null` for none. */
  ip?: string | null | undefined;
  /** Whether the client speaks HTTPS; the cookie is then `__Host-session`. Default: as the host sees it. */
  secure?: boolean | undefined;
  /** The host that the client asked for, with its port if any, for the origin check. Default: `Host`. */
  host?: string | null | undefined;
}

export const CONNECTION = {
  ip: (name, value) => (value === null ? null : checkTextOrNone(name, value)),
  secure: optional(checkBoolean, undefined),
  host: checkTextOrNone,
} satisfies Readers<Connection>;

const UNKNOWN = { ip: undefined, secure: undefined, host: undefined };

/** @throws TypeError for a member that is unknown or of the wrong kind. */
export function readConnection(connection: Connection | undefined) {
  return connection === undefined ? UNKNOWN : readOptions('connection', connection, CONNECTION, '');
}

/** Any text: it may come from a header. `undefined` for `null`, which `Headers` give for what a request lacks. */
function checkTextOrNone(name: string, value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : checkString(name, value);
}

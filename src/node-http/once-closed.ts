import { privateField } from '../http/exchange/private-field';

interface Closing {
  once(event: 'close', listener: () => void): unknown;
}

/** The used part of a connection of Node, or of a stream of HTTP/2. */
interface NodeConnection extends Closing {
  readonly destroyed?: boolean;
}

/** The used part of a response of Node. */
export interface ClosingResponse extends Closing {
  readonly closed?: boolean;
  /** Of HTTP/2. */
  readonly stream?: { readonly closed: boolean };
  /** `null` while it waits for an earlier response on its connection (pipelining). */
  readonly socket?: unknown;
}

/** Of a connection: what to call if it closes while responses wait for an earlier one. */
const waiting = privateField<Set<() => void>>();

/** Whether the response is sent, or its client has gone. */
export function hasClosed(connection: NodeConnection | undefined, res: ClosingResponse): boolean {
  return (res.closed ?? res.stream?.closed) === true || connection?.destroyed === true;
}

/** Calls the function once the response is sent or its client has gone, at once if so already. */
export function onceClosed(connection: NodeConnection | undefined, res: ClosingResponse, listener: () => void): void {
  if (hasClosed(connection, res)) {
    listener();
    return;
  }
  res.once('close', listener);
  // Node emits no `close` of a response that never got its connection.
  if (res.socket !== null || connection === undefined) return;
  const listeners = waiting.get(connection) ?? waitOn(connection);
  listeners.add(listener);
  res.once('close', () => listeners.delete(listener));
}

/** One listener for all responses: Node warns of more than ten. */
function waitOn(connection: NodeConnection): Set<() => void> {
  const listeners = new Set<() => void>();
  waiting.add(connection, listeners);
  connection.once('close', () => {
    for (const listener of listeners) listener();
  });
  return listeners;
}

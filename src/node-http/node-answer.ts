/* How a host of Node answers with a refusal or an error. */
import type { ServerResponse } from 'node:http';
import type { Refusal } from '../http/guards/refusal';

export function sendJson(res: ServerResponse, status: number, headers: Refusal['headers'], body: object): void {
  setRefusalHeaders(res, headers);
  const text = JSON.stringify(body);
  res.statusCode = status;
  res.setHeader('Content-Type', 'application/json; charset=utf-8');
  // A message with both is malformed (RFC 9112, 6.2).
  if (res.getHeader('Transfer-Encoding') === undefined) res.setHeader('Content-Length', Buffer.byteLength(text));
  res.end(text);
}

/** RFC 9113, 7. */
const INTERNAL_ERROR = 2;

interface CuttableResponse {
  headersSent: boolean;
  writableEnded: boolean;
  destroy(): unknown;
  /** Of HTTP/2. */
  stream?: { close(code: number): unknown };
}

/**
 * Cuts off a response that has begun and takes no other status any more, so that its client does not take it for whole.
 * A response that was ended stays.
 *
 * @returns whether it had begun.
 */
export function cutOff(res: CuttableResponse): boolean {
  if (res.headersSent && !res.writableEnded) {
    // Over HTTP/2, destroy() closes the stream without an error, as after a whole response.
    if (res.stream === undefined) res.destroy();
    else res.stream.close(INTERNAL_ERROR);
  }
  return res.headersSent;
}

/** Sets the headers of a refusal. Adds to a `Vary` that is there. */
export function setRefusalHeaders(res: ServerResponse, headers: Refusal['headers']): void {
  for (const [name, value] of Object.entries(headers)) {
    const earlier = name === 'Vary' ? res.getHeader(name) : undefined;
    res.setHeader(name, earlier === undefined ? value : `${String(earlier)}, ${value}`);
  }
}

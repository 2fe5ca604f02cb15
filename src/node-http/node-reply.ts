import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { privateField } from '../http/exchange/private-field';
import { ReplyHeaders } from '../http/exchange/reply-headers';

/** The forms in which Node's `writeHead` takes headers. */
type GivenHeaders = OutgoingHttpHeaders | readonly OutgoingHttpHeader[] | readonly (readonly OutgoingHttpHeader[])[];

const replies = privateField<ReplyHeaders>();

/** The headers that this package adds to a response of Node; `null` when it has begun. One for each response. */
export function replyOf(res: ServerResponse): ReplyHeaders | null {
  if (res.headersSent) return null;
  const known = replies.get(res);
  if (known !== undefined) return known;
  const reply = new ReplyHeaders(res);
  replies.add(res, reply);
  sendAtEachAttempt(res, reply);
  return reply;
}

/**
 * Applies the reply in every way of sending headers, because Node calls `writeHead` for each. It applies it at each
 * attempt: one may fail (a status message that HTTP can't carry), and the framework then sets new headers for that
 * error.
 */
function sendAtEachAttempt(res: ServerResponse, reply: ReplyHeaders): void {
  const writeHead = res.writeHead as (...args: unknown[]) => ServerResponse;
  res.writeHead = (status: number, reason?: unknown, headers?: unknown): ServerResponse => {
    if (res.headersSent) return writeHead.call(res, status, reason, headers);
    // As Node reads them: the headers may take the place of the reason, or follow one left out.
    const given = typeof reason === 'string' ? headers : (headers ?? reason);
    setAll(res, given as GivenHeaders | null | undefined);
    // Node takes a text, too.
    reply.send(Number(status));
    return typeof reason === 'string' ? writeHead.call(res, status, reason) : writeHead.call(res, status);
  };
}

/** Replaces headers by their names, and keeps all of several with one name. */
function setAll(res: ServerResponse, headers: GivenHeaders | null | undefined): void {
  if (headers === null || headers === undefined) return;
  const pairs = pairsOf(headers);
  for (const [name] of pairs) res.removeHeader(name);
  for (const [name, value] of pairs) {
    const earlier = res.getHeader(name);
    res.setHeader(name, earlier === undefined ? (value as string) : [earlier, value].flat().map(String));
  }
}

function pairsOf(headers: GivenHeaders): [string, OutgoingHttpHeader][] {
  if (!Array.isArray(headers)) {
    const entries = Object.entries(headers as OutgoingHttpHeaders);
    return entries.filter((entry): entry is [string, OutgoingHttpHeader] => entry[0] !== '' && entry[1] !== undefined);
  }
  if (Array.isArray(headers[0])) return headers as [string, OutgoingHttpHeader][];
  if (headers.length % 2 !== 0) throw new TypeError('the headers must be pairs of a name and a value');
  return Array.from({ length: headers.length / 2 }, (_, i) => [String(headers[2 * i]), headers[2 * i + 1]]);
}

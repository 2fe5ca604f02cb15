import type { Request, Response } from 'express';

/** Milliseconds between two pings, for proxies that close idle connections. */
const HEARTBEAT_MS = 25_000;

/**
 * Streams events (WHATWG HTML, Server-sent events) until the session ends, and sends the reason. The page does not
 * reconnect: its next request gets a 401.
 */
export function streamEvents(req: Request, res: Response): void {
  const { signal, user } = req.session;
  const send = (event: string, data: unknown) => res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  send('hello', { user: user?.id });
  const heart = setInterval(() => res.write(':\n\n'), HEARTBEAT_MS);
  res.once('close', () => clearInterval(heart));
  signal.addEventListener('abort', () => {
    // A client that does not read keeps the response open; a write after its end would emit an unhandled error.
    clearInterval(heart);
    const { endReason, endMessage } = signal.reason;
    send('signed-out', { reason: endReason, message: endMessage });
    res.end();
  });
}

import type { Request, Response } from 'express';

/** Milliseconds between two signs of life, for proxies that close connections on which nothing is said. */
const HEARTBEAT_MS = 25_000;

/**
 * Streams events (WHATWG HTML, Server-sent events) until the session ends, and says why. The page does not connect
 * again: the next request gets a 401.
 */
export function streamEvents(req: Request, res: Response): void {
  const { signal, user } = req.session;
  const send = (event: string, data: unknown) => res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  send('hello', { user: user?.id });
  const heart = setInterval(() => res.write(':\n\n'), HEARTBEAT_MS);
  res.once('close', () => clearInterval(heart));
  signal.addEventListener('abort', () => {
    // A client that reads nothing keeps the response open, and a write after its end would be an error without a listener.
    clearInterval(heart);
    const { endReason, endMessage } = signal.reason;
    send('signed-out', { reason: endReason, message: endMessage });
    res.end();
  });
}

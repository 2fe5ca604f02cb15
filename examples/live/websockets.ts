import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Session, SessionError, TokenManager } from 'tokensession';
import type { Authenticate } from 'tokensession/live';
import { type WebSocket, WebSocketServer } from 'ws';

/** Not signed in, or not any more: 4000 to 4999 are for applications (RFC 6455, 7.4.2), and this one is like 401. */
const UNAUTHENTICATED = 4401;

/** Bytes that the reason of a close may have (RFC 6455, 5.5). */
const MAX_REASON_BYTES = 123;

/** Serves WebSockets at `/ws`. Gives what closes them. */
export function serveWebSockets(server: Server, sessions: TokenManager, authenticate: Authenticate): () => void {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 65_536 });

  const upgrade = async (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    const { session, error } = await authenticate(req);
    // A page can't read the status of a refused upgrade. One of ours is to learn why it is signed out.
    if (session === null && error.status !== 401) return refuse(socket, error.status);
    socket.off('error', ignore);
    sockets.handleUpgrade(req, socket, head, (ws) => {
      if (session === null) ws.close(UNAUTHENTICATED, reasonOf(error));
      else connect(ws, session);
    });
  };

  const connect = (ws: WebSocket, session: Session) => {
    const signal = sessions.watch(session);
    signal.addEventListener('abort', () => ws.close(UNAUTHENTICATED, reasonOf(signal.reason)));
    ws.once('close', () => sessions.unwatch(signal));
    ws.on('error', ignore);
    ws.on('message', (data) => {
      // A client may go on to send until it has answered the close.
      if (!signal.aborted) ws.send(`${session.user.id}: ${data}`);
    });
    ws.send(`hello ${session.user.id}`);
  };

  server.on('upgrade', (req, socket, head) => {
    if (req.url?.split('?', 1)[0] !== '/ws') return;
    // Until ws takes the socket over.
    socket.on('error', ignore);
    upgrade(req, socket, head).catch(() => refuse(socket, 500));
  });
  return () => {
    for (const ws of sockets.clients) ws.terminate();
  };
}

function refuse(socket: Duplex, status: number): void {
  // Otherwise a client that doesn't hang up would keep its connection.
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** Why, for people if that is known, cut to what a close may hold. */
function reasonOf({ endMessage, endReason = 'unknown' }: SessionError): string {
  const bytes = Buffer.from(endMessage ?? endReason).subarray(0, MAX_REASON_BYTES);
  return new TextDecoder().decode(bytes, { stream: true });
}

function ignore(): void {
  // 'close' follows.
}

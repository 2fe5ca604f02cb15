import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Session, SessionError, TokenManager } from 'tokensession';
import type { Authenticate } from 'tokensession/live';
import { type WebSocket, WebSocketServer } from 'ws';

/** The close code of an unauthenticated connection: 4000 to 4999 are for applications (RFC 6455, 7.4.2). */
const UNAUTHENTICATED = 4401;

/** The longest reason of a close, in bytes (RFC 6455, 5.5). */
const MAX_REASON_BYTES = 123;

/** Serves WebSockets at `/ws`. Returns a function that closes them. */
export function serveWebSockets(server: Server, sessions: TokenManager, authenticate: Authenticate): () => void {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 65_536 });

  const upgrade = async (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    const { session, error } = await authenticate(req);
    // A page cannot read the status of a refused upgrade, so our own pages get a close with the reason.
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
      // A client may still send until it has answered the close.
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
  // Otherwise a client that never disconnects would keep its connection.
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** The message for the user, or the reason, cut to the limit of a close. */
function reasonOf({ endMessage, endReason = 'unknown' }: SessionError): string {
  const bytes = Buffer.from(endMessage ?? endReason).subarray(0, MAX_REASON_BYTES);
  return new TextDecoder().decode(bytes, { stream: true });
}

function ignore(): void {
  // 'close' follows.
}

import type { Server } from 'node:http';
import { Server as SocketServer } from 'socket.io';
import type { Session, TokenManager } from 'tokensession';
import type { Authenticate } from 'tokensession/live';

interface ServerEvents {
  hello(user: string): void;
  'signed-out'(why: { reason: string; message?: string }): void;
}

type Io = SocketServer<Record<string, never>, ServerEvents, Record<string, never>, { session: Session }>;

/** Serves Socket.IO, over WebSockets and over polling. Returns a function that closes it. */
export function serveSocketIo(server: Server, sessions: TokenManager, authenticate: Authenticate): () => void {
  // Ends upgrades without a handler after this time, those to unknown paths.
  const io: Io = new SocketServer(server, { destroyUpgradeTimeout: 5000 });

  io.use(async (socket, next) => {
    try {
      const { session, error } = await authenticate(socket.request, { token: socket.handshake.auth.token });
      if (session !== null) {
        socket.data.session = session;
        return next();
      }
      const { code, endReason, endMessage } = error;
      next(Object.assign(new Error(code), { data: { reason: endReason, message: endMessage } }));
    } catch {
      next(new Error('ERR_INTERNAL'));
    }
  });

  io.on('connection', (socket) => {
    const { session } = socket.data;
    const signal = sessions.watch(session);
    signal.addEventListener('abort', () => {
      const { endReason, endMessage } = signal.reason;
      socket.emit('signed-out', { reason: endReason, message: endMessage });
      socket.disconnect(true);
    });
    socket.once('disconnect', () => sessions.unwatch(signal));
    socket.emit('hello', session.user.id);
  });
  // Clients then connect to another process. A disconnect for each would wait for the next poll of a client that polls.
  return () => io.engine.close();
}

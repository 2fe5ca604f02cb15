import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TokenManager } from 'tokensession';
import { fail, reasonOf, whereSessionsAre } from './settings';

/** Milliseconds that requests under way may take to finish when the process is told to stop. */
const GRACE_MS = 1000;

interface ServeOptions {
  port: number;
  /** Closed when the last request is answered. */
  sessions: TokenManager;
  /** What to say once the server listens. */
  greeting: (address: string) => string;
  /** Closes what is no HTTP any more, such as WebSockets. */
  stopped?: () => void;
}

/** Serves HTTP until SIGINT or SIGTERM; then the process ends by itself. */
export function serve(listener: RequestListener, { port, sessions, greeting, stopped }: ServeOptions): Server {
  const server = createServer(listener);
  server.once('error', (error: NodeJS.ErrnoException) => {
    fail(
      error.code === 'EADDRINUSE'
        ? `Port ${port} is taken: choose another one with PORT`
        : `Can't listen on port ${port}: ${error.message}`,
    );
  });
  server.listen(port, () => {
    console.log(greeting(`http://localhost:${(server.address() as AddressInfo).port}`));
    console.log(whereSessionsAre());
    reportOutage(sessions);
  });

  const stop = () => {
    server.close(() => sessions.close());
    stopped?.();
    // A connection that is kept alive, or a client that stalls, would hold the process.
    setTimeout(() => server.closeAllConnections(), GRACE_MS).unref();
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  return server;
}

/** Without Redis the process starts all the same, and recovers by itself: somebody should know what it waits for. */
function reportOutage(sessions: TokenManager): void {
  sessions.listUserToken('nobody').catch((error: Error) => {
    console.error(`${reasonOf(error)}. Requests with a token get 503 until it answers.`);
  });
}

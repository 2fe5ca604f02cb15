import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TokenManager } from 'tokensession';
import { fail, reasonOf, whereSessionsAre } from './settings';

/** Milliseconds for requests in flight to finish after a signal to stop. */
const GRACE_MS = 1000;

interface ServeOptions {
  port: number;
  /** Closed after the last response. */
  sessions: TokenManager;
  /** Printed once the server listens. */
  greeting: (address: string) => string;
  /** Closes connections that left HTTP, such as WebSockets. */
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

/** Without Redis the process starts all the same, and recovers by itself: the log says what it waits for. */
function reportOutage(sessions: TokenManager): void {
  sessions.listUserToken('nobody').catch((error: Error) => {
    console.error(`${reasonOf(error)}. Requests with a token get 503 until it answers.`);
  });
}

/*
 * Connections that end with their session: WebSockets, Socket.IO and a stream of events.
 * npx tsx examples/live/server.ts, then open the page that it names in two browsers.
 */
import express, { type Request } from 'express';
import { TokenManager } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/express';
import { authenticator } from 'tokensession/live';
import { serve } from '../serve';
import { portFromEnvironment, secretFromEnvironment, storeFromEnvironment } from '../settings';
import { streamEvents } from './events';
import { serveSocketIo } from './socket-io';
import { serveWebSockets } from './websockets';

const sessions = new TokenManager({ store: storeFromEnvironment(), secret: secretFromEnvironment() });

// While announcements may be lost, an end is noticed up to five seconds late: a bank would close all connections here.
sessions.on('watch-down', ({ error }) => console.error(error.message));

const app = express();
app.disable('x-powered-by');
app.get('/', (_req, res) => res.sendFile('page.html', { root: __dirname }));
app.use(express.json());
app.use(sessionMiddleware(sessions));

app.post('/login', async (req, res) => {
  const user: unknown = req.body?.user;
  if (typeof user !== 'string' || !/^[\w.-]{1,64}$/.test(user)) {
    res.status(400).json({ error: 'send JSON with the name of a user, such as {"user":"ada"}' });
    return;
  }
  // A real application checks the password here.
  res.json({ token: await req.session.login(user) });
});

app.post('/logout', async (req, res) => {
  await req.session.logout();
  res.sendStatus(204);
});

/** Ends the user's other sessions and their connections, with a message that says where and when. */
app.delete('/sessions', requireUser(), async (req, res) => {
  const at = new Date().toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
  const message = `you were signed out on ${browserOf(req)} at ${at}`;
  const { user, id } = req.session;
  const ended = await sessions.deleteUserToken(user?.id ?? '', { except: id, message });
  res.json({ ended });
});

app.get('/events', requireUser(), streamEvents);

/** The users connected to this process. */
app.get('/online', requireUser(), (_req, res) => {
  res.json([...new Set(sessions.watched().map(({ userId }) => userId))]);
});

function browserOf(req: Request): string {
  return /Firefox|Edg|Chrome|Safari|curl/.exec(req.get('user-agent') ?? '')?.[0] ?? 'another device';
}

const server = serve(app, {
  port: portFromEnvironment(3000),
  sessions,
  greeting: (address) => `Open ${address} in two browsers`,
  stopped: () => {
    closeWebSockets();
    closeSocketIo();
  },
});
const authenticate = authenticator(sessions);
const closeWebSockets = serveWebSockets(server, sessions, authenticate);
const closeSocketIo = serveSocketIo(server, sessions, authenticate);

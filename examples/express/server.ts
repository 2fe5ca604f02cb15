/*
 * Sign in with a browser or with curl: npm start
 * Reads PORT, SESSION_SECRET and where Redis is (see ../settings.ts); works without any of them.
 */
import { randomBytes } from 'node:crypto';
import express, { type ErrorRequestHandler, type Request } from 'express';
import { SessionError, TokenManager } from 'tokensession';
import { requireRecentLogin, requireUser, sessionMiddleware } from 'tokensession/express';
import { serve } from '../serve';
import { portFromEnvironment, reasonOf, secretFromEnvironment, storeFromEnvironment } from '../settings';

declare module 'tokensession' {
  interface Register {
    /** The type of `req.session.user.detail` in this project. */
    detail: { name: string };
  }
}

/** Stands in for a database. */
const USERS = new Map([
  ['ada', { name: 'Ada Lovelace' }],
  ['grace', { name: 'Grace Hopper' }],
  ['linus', { name: 'Linus Torvalds' }],
]);

const sessions = new TokenManager({
  store: storeFromEnvironment(),
  secret: secretFromEnvironment(),
  getUserInfo: (id) => USERS.get(id),
  // One more login ends the oldest session on that kind of device.
  maxSessionsPerDevice: { web: 3, mobile: 1 },
});

// Logins and logouts, for the log: no event holds a token.
for (const event of ['login', 'logout', 'replaced', 'revoked', 'rotated', 'reused'] as const) {
  sessions.on(event, ({ userId, sessionId }) => console.log(`${event}: ${userId}, session ${sessionId}`));
}

const app = express();
app.disable('x-powered-by');

// Before the sessions: the page is public, and works even without Redis.
app.get('/', (_req, res) => res.sendFile('page.html', { root: __dirname }));

// For the load balancer, not public: the reasons may name servers. A `degraded` process still serves, and stays in use.
app.get('/ready', async (_req, res) => {
  const health = await sessions.health();
  res.status(health.status === 'down' ? 503 : 200).json(health);
});

app.use(express.json());
app.use(sessionMiddleware(sessions));
app.use((_req, res, next) => {
  // No cache may give one user's page to another.
  res.set('Cache-Control', 'no-store');
  next();
});

app.post('/login', async (req, res) => {
  const user: unknown = req.body?.user;
  if (typeof user !== 'string' || !/^[\w.-]{1,64}$/.test(user)) {
    res.status(400).json({ error: 'send JSON with the name of a user, such as {"user":"ada"}' });
    return;
  }
  // A real application checks the password here.
  const device = /Mobi|Android|iPhone/.test(req.get('user-agent') ?? '') ? 'mobile' : 'web';
  const token = await req.session.login(user, { attributes: { device } });
  res.json({ user: req.session.user, token });
});

app.post('/logout', async (req, res) => {
  await req.session.logout({ everywhere: req.body?.everywhere === true });
  res.sendStatus(204);
});

app.get('/me', requireUser(), (req, res) => {
  res.json(req.session);
});

app.get('/sessions', requireUser(), async (req, res) => {
  const all = await sessions.listUserSessions(userIdOf(req));
  res.json(
    all.map((session) => ({
      ...session,
      program: programIn(session.attributes.userAgent),
      current: session.id === req.session.id,
    })),
  );
});

// Ends all sessions but this one. requireUser() puts the message into the 401 of the ended ones.
app.delete('/sessions', requireUser(), async (req, res) => {
  await sessions.deleteUserToken(userIdOf(req), { except: req.session.id, message: endedFrom(req) });
  res.sendStatus(204);
});

app.delete('/sessions/:id', requireUser(), async (req: Request<{ id: string }>, res) => {
  if (await sessions.deleteSession(userIdOf(req), req.params.id, { message: endedFrom(req) })) res.sendStatus(204);
  else res.status(404).json({ error: 'you have no such session' });
});

// Requires a recent login or re-authentication: a session left open in a café is not enough.
app.post('/recovery-codes', requireRecentLogin(60), (_req, res) => {
  // A real application stores their hashes.
  res.json(Array.from({ length: 4 }, () => randomBytes(5).toString('hex')));
});

app.post('/confirm', requireUser(), async (req, res) => {
  // A real application checks the password, or a second factor, here.
  if (req.body?.user !== userIdOf(req)) {
    res.status(403).json({ error: 'that is not who is signed in' });
    return;
  }
  // The new token carries the proof: a client that sends its token in a header must store it.
  res.json({ token: await req.session.reauthenticated() });
});

app.use((_req, res) => {
  res.status(404).json({ error: 'there is nothing at this address' });
});
app.use(((error, _req, res, next) => {
  if (res.headersSent) return next(error);
  const status: number = error.status ?? 500;
  if (error instanceof SessionError) res.set(error.headers ?? {});
  if (status >= 500) console.error(error instanceof SessionError ? reasonOf(error) : error);
  res.status(status).json({ error: publicTextOf(error) });
}) satisfies ErrorRequestHandler);

serve(app, {
  port: portFromEnvironment(3000),
  sessions,
  greeting: (address) =>
    [
      `${address} is ready: open it in a browser, or sign in from a shell:`,
      `curl -sc /tmp/tokensession.jar -H 'content-type: application/json' -d '{"user":"ada"}' ${address}/login`,
      `curl -sb /tmp/tokensession.jar ${address}/me`,
    ].join('\n'),
});

/** Behind `requireUser()`. */
function userIdOf(req: Request): string {
  if (req.session.user === null) throw new TypeError('this route needs requireUser()');
  return req.session.user.id;
}

/** A device name that the user recognises in the list of sessions. */
function programIn(userAgent = ''): string {
  const [program] = /Edg|OPR|Firefox|Chrome|Safari|curl/.exec(userAgent) ?? ['Unknown program'];
  const [system] = /Android|iPhone|iPad|Windows|Mac|Linux/.exec(userAgent) ?? [];
  return system === undefined ? program : `${program} on ${system}`;
}

function endedFrom(req: Request): string {
  return `ended from ${programIn(req.get('user-agent'))}`;
}

/** A 4xx error tells the client its mistake; other errors stay internal. */
function publicTextOf(error: unknown): string {
  if (error instanceof SessionError) return error.code;
  const { expose, message } = error as { expose?: boolean; message?: string };
  return expose && message ? message : 'internal error';
}

/* The service where people log in. See examples/README.md for how to run it beside the forum. */
import express, { type ErrorRequestHandler } from 'express';
import { SessionError } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/express';
import { serve } from '../serve';
import { portFromEnvironment } from '../settings';
import { sessions } from './sessions';

const app = express();
app.use(express.json());
// Only the shop's own pages may send requests with the session's cookie here; even the forum's may not.
app.use(sessionMiddleware(sessions));

app.post('/login', async (req, res) => {
  const user = String(req.body?.user ?? '');
  if (!/^[\w.-]{1,64}$/.test(user)) {
    res.status(400).json({ error: 'send JSON with the name of a user, such as {"user":"ada"}' });
    return;
  }
  await req.session.login(user, { attributes: { device: 'shop' } });
  res.json(req.session);
});

app.get('/me', requireUser(), (req, res) => {
  res.json({ service: 'shop', ...req.session.user });
});

app.post('/logout-everywhere', async (req, res) => {
  await req.session.logout({ everywhere: true });
  res.sendStatus(204);
});

app.use(((error, _req, res, next) => {
  if (res.headersSent || !(error instanceof SessionError)) return next(error);
  res
    .status(error.status)
    .set(error.headers ?? {})
    .json({ error: error.code });
}) satisfies ErrorRequestHandler);

serve(app, { port: portFromEnvironment(3001), sessions, greeting: (address) => `The shop is at ${address}` });

import type { AddressInfo } from 'node:net';
import express from 'express';
import * as openid from 'openid-client';
import { MemoryStore, TokenManager } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/express';

/* An application that signs its users in with openid-client, which is an ES module. */

const { ISSUER = '', CLIENT_ID = '', CLIENT_SECRET = '' } = process.env;
const sessions = new TokenManager({ store: new MemoryStore(), secret: process.env.SESSION_SECRET });
const provider = await openid.discovery(new URL(ISSUER), CLIENT_ID, CLIENT_SECRET, undefined, {
  execute: [openid.allowInsecureRequests],
});

interface Flow {
  verifier: string;
  state: string;
  nonce: string;
}

const app = express();
app.use(sessionMiddleware(sessions));
const server = app.listen(0, '127.0.0.1', () => process.stdout.write(`listening: ${origin()}\n`));
const origin = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

app.get('/login', async (req, res) => {
  const flow: Flow = {
    verifier: openid.randomPKCECodeVerifier(),
    state: openid.randomState(),
    nonce: openid.randomNonce(),
  };
  await req.session.data.set('oidc', flow);
  const url = openid.buildAuthorizationUrl(provider, {
    redirect_uri: `${origin()}/callback`,
    scope: 'openid',
    code_challenge: await openid.calculatePKCECodeChallenge(flow.verifier),
    code_challenge_method: 'S256',
    state: flow.state,
    nonce: flow.nonce,
  });
  res.redirect(url.href);
});

app.get('/callback', async (req, res) => {
  const flow = (await req.session.data.pop('oidc')) as Flow | undefined;
  if (flow === undefined) return res.status(403).json({ error: 'no login was begun here' });
  const tokens = await openid.authorizationCodeGrant(provider, new URL(req.originalUrl, origin()), {
    pkceCodeVerifier: flow.verifier,
    expectedState: flow.state,
    expectedNonce: flow.nonce,
    idTokenExpected: true,
  });
  await req.session.login(tokens.claims()?.sub ?? '');
  res.redirect('/me');
});

app.get('/me', requireUser(), (req, res) => {
  res.json(req.session.user);
});

process.on('SIGTERM', () => process.exit(0));

import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export const CLIENT = { id: 'a client', secret: 'a secret of the client' };

/** An issued code, until it is redeemed. */
interface Grant {
  redirectUri: string | null;
  challenge: string | null;
  nonce: string | null;
}

/** A provider of OAuth 2 and OpenID Connect whose user is always `ada` and always consents. */
export async function startOAuthServer() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const grants = new Map<string, Grant>();
  const accessTokens = new Set<string>();
  const server = createServer(async (req, res) => {
    const url = new URL(req.url as string, origin);
    const json = (status: number, body: unknown) => {
      res.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    };
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json(200, {
          issuer: origin,
          authorization_endpoint: `${origin}/authorize`,
          token_endpoint: `${origin}/token`,
          userinfo_endpoint: `${origin}/userinfo`,
          jwks_uri: `${origin}/jwks`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['RS256'],
          code_challenge_methods_supported: ['S256'],
        });
      case '/jwks':
        return json(200, { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: '1', use: 'sig', alg: 'RS256' }] });
      case '/authorize': {
        const query = url.searchParams;
        const code = randomBytes(16).toString('hex');
        const redirectUri = query.get('redirect_uri');
        grants.set(code, { redirectUri, challenge: query.get('code_challenge'), nonce: query.get('nonce') });
        const back = new URL(redirectUri as string);
        back.searchParams.set('code', code);
        if (query.has('state')) back.searchParams.set('state', query.get('state') as string);
        return res.writeHead(302, { Location: back.href }).end();
      }
      case '/token': {
        const body = new URLSearchParams(await textOf(req));
        const grant = grants.get(body.get('code') as string);
        grants.delete(body.get('code') as string);
        if (grant === undefined || !isClient(req, body) || grant.redirectUri !== body.get('redirect_uri')) {
          return json(400, { error: 'invalid_grant' });
        }
        const verifier = body.get('code_verifier');
        const challenge = verifier === null ? null : createHash('sha256').update(verifier).digest('base64url');
        if (grant.challenge !== challenge) return json(400, { error: 'invalid_grant' });
        const token = randomBytes(16).toString('hex');
        accessTokens.add(token);
        return json(200, { access_token: token, token_type: 'Bearer', expires_in: 60, id_token: idToken(grant.nonce) });
      }
      case '/userinfo': {
        const token =
          /^Bearer (.*)$/.exec(req.headers.authorization ?? '')?.[1] ?? url.searchParams.get('access_token');
        return accessTokens.has(token as string) ? json(200, { sub: 'ada' }) : json(401, {});
      }
      default:
        return json(404, {});
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function idToken(nonce: string | null): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: origin, aud: CLIENT.id, sub: 'ada', iat: now, exp: now + 300, ...(nonce && { nonce }) };
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${part({ alg: 'RS256', kid: '1' })}.${part(claims)}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
  }

  return {
    origin,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function isClient(req: IncomingMessage, body: URLSearchParams): boolean {
  const basic = /^Basic (.*)$/.exec(req.headers.authorization ?? '')?.[1];
  if (basic === undefined) return body.get('client_id') === CLIENT.id && body.get('client_secret') === CLIENT.secret;
  const [id, secret] = Buffer.from(basic, 'base64')
    .toString()
    .split(':')
    .map((text) => decodeURIComponent(text.replaceAll('+', ' ')));
  return id === CLIENT.id && secret === CLIENT.secret;
}

async function textOf(req: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of req) text += chunk;
  return text;
}

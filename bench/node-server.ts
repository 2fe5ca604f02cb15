/* One contestant of the part without a framework: `node-server.ts <name> <Redis URL>`. It tells its port and its CPU time when asked. */
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { parseCookie, stringifySetCookie } from 'cookie';
import { RedisStore, TokenManager } from 'tokensession';
import { GetexSessions } from './getex-sessions';
import { answerForServer, contestantNamed } from './server';

const SECRET = 'a secret that is long enough to be one';
const TTL = 7 * 24 * 3600;

const CONTESTANTS: Record<string, (url: string) => RequestListener> = {
  bare: () => (_req, res) => sendUser(res, 'user-00'),
  tokensession: (url) => tokensession(url),
  'tokensession, cached': (url) => tokensession(url, { cache: true }),
  GETEX: (url) => {
    const sessions = new GetexSessions(url, TTL);
    return serve(
      (user) => sessions.login(user),
      (token) => sessions.userOf(token),
    );
  },
};

function tokensession(url: string, options: { cache?: true } = {}): RequestListener {
  const sessions = new TokenManager({ store: new RedisStore(url), secret: SECRET, ttl: TTL, ...options });
  return serve(
    (user) => sessions.setToken(user),
    async (token = '') => (await sessions.touchToken(token))?.user.id ?? null,
  );
}

function serve(
  login: (userId: string) => Promise<string>,
  userOf: (token: string | undefined) => Promise<string | null>,
): RequestListener {
  return async (req, res) => {
    if (req.method === 'POST') {
      const value = await login(req.url?.slice('/login/'.length) ?? '');
      res.setHeader('set-cookie', stringifySetCookie({ name: 'session', value, httpOnly: true, path: '/' }));
      res.writeHead(204).end();
      return;
    }
    const user = await userOf(parseCookie(req.headers.cookie ?? '').session);
    if (user === null) res.writeHead(401).end();
    else sendUser(res, user);
  };
}

function sendUser(res: ServerResponse, user: string): void {
  const body = JSON.stringify({ user });
  res.setHeader('content-type', 'application/json; charset=utf-8');
  res.setHeader('content-length', Buffer.byteLength(body));
  res.end(body);
}

function main([name = '', url = '']: string[]): void {
  answerForServer(createServer(contestantNamed(name, CONTESTANTS)(url)).listen(0, '127.0.0.1'));
}

main(process.argv.slice(2));

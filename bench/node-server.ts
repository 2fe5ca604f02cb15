/* One contestant of the part without a framework: `node-server.ts <name> <Redis URL>`. It tells its port when asked. */
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { parseCookie, stringifySetCookie } from 'cookie';
import { RedisStore, TokenManager } from 'tokensession';
import { GetexSessions, type HandmadeSessions, ListedGetexSessions } from './getex-sessions';
import { answerForServer, contestantNamed } from './server';

const SECRET = 'a secret that is long enough to be one';
const TTL = 7 * 24 * 3600;

const CONTESTANTS: Record<string, (url: string) => RequestListener> = {
  bare: () => (_req, res) => sendUser(res, 'user-00'),

  /** The least cost of every session: read the cookie. */
  floor: () => (req, res) => {
    if (parseCookie(req.headers.cookie ?? '').session === undefined) res.writeHead(401).end();
    else sendUser(res, 'user-00');
  },

  tokensession: (url) => serve(tokensession(url)),
  'tokensession, cached': (url) => serve(tokensession(url, { cache: true })),
  GETEX: (url) => serve(new GetexSessions(url, TTL)),
  'GETEX, signed and listed': (url) => serve(new ListedGetexSessions(url, SECRET, TTL)),
};

function tokensession(url: string, options: { cache?: true } = {}): HandmadeSessions {
  const sessions = new TokenManager({ store: new RedisStore(url), secret: SECRET, ttl: TTL, ...options });
  return {
    login: (user) => sessions.setToken(user),
    userOf: async (token = '') => (await sessions.touchToken(token))?.user.id ?? null,
  };
}

function serve(sessions: HandmadeSessions): RequestListener {
  return async (req, res) => {
    if (req.method === 'POST') {
      const value = await sessions.login(req.url?.slice('/login/'.length) ?? '');
      res.setHeader('set-cookie', stringifySetCookie({ name: 'session', value, httpOnly: true, path: '/' }));
      res.writeHead(204).end();
      return;
    }
    const user = await sessions.userOf(parseCookie(req.headers.cookie ?? '').session);
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

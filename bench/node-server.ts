/* One contestant of the part without a framework: `node-server.ts <name> <Redis URL>`. It tells its port when asked. */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { parseCookie, stringifySetCookie } from 'cookie';
import { getIronSession } from 'iron-session';
import { requireUser, sendError, sessionOpener } from 'tokensession/node';
import { type ManagerOptions, managerOn, SECRET, TTL } from './contestants';
import { GetexSessions, type HandmadeSessions, ListedGetexSessions } from './getex-sessions';
import { IRON_OPTIONS, type SealedUser } from './iron-options';
import { serve } from './server';

const CONTESTANTS: Record<string, (url: string) => RequestListener> = {
  bare: () => (_req, res) => sendUser(res, 'user-00'),

  /** The least cost of every session: read the cookie. */
  floor: () => (req, res) => {
    if (parseCookie(req.headers.cookie ?? '').session === undefined) res.writeHead(401).end();
    else sendUser(res, 'user-00');
  },

  tokensession: (url) => tokensession(url),
  'tokensession, cached': (url) => tokensession(url, { cache: true }),
  touchToken: (url) => handmade(touchToken(url)),
  'touchToken, cached': (url) => handmade(touchToken(url, { cache: true })),
  GETEX: (url) => handmade(new GetexSessions(url, TTL)),
  'GETEX, signed and listed': (url) => handmade(new ListedGetexSessions(url, SECRET, TTL)),

  /** Sealed anew with each response, so that it slides, as ours do. */
  'iron-session': () => ironSession({ rolling: true }),
  'iron-session, not rolling': () => ironSession({ rolling: false }),
};

function tokensession(url: string, options: ManagerOptions = {}): RequestListener {
  const openSession = sessionOpener(managerOn(url, options));
  return async (req, res) => {
    try {
      const session = await openSession(req, res);
      if (req.method !== 'POST') return sendUser(res, requireUser(session).id);
      await session.login(loginOf(req));
      res.writeHead(204).end();
    } catch (error) {
      sendError(res, error as Parameters<typeof sendError>[1]);
    }
  };
}

/** The core alone, without origin check, header, or the way from a request's session to its response. */
function touchToken(url: string, options: ManagerOptions = {}): HandmadeSessions {
  const sessions = managerOn(url, options);
  return {
    login: (user) => sessions.setToken(user),
    userOf: async (token = '') => (await sessions.touchToken(token))?.user.id ?? null,
  };
}

function handmade(sessions: HandmadeSessions): RequestListener {
  return async (req, res) => {
    if (req.method === 'POST') {
      const value = await sessions.login(loginOf(req));
      res.setHeader('set-cookie', stringifySetCookie({ name: 'session', value, httpOnly: true, path: '/' }));
      res.writeHead(204).end();
      return;
    }
    const user = await sessions.userOf(parseCookie(req.headers.cookie ?? '').session);
    if (user === null) res.writeHead(401).end();
    else sendUser(res, user);
  };
}

function ironSession({ rolling }: { rolling: boolean }): RequestListener {
  return async (req, res) => {
    const session = await getIronSession<SealedUser>(req, res, IRON_OPTIONS);
    if (req.method === 'POST') session.userId = loginOf(req);
    else if (session.userId === undefined) return void res.writeHead(401).end();
    if (rolling || req.method === 'POST') await session.save();
    if (req.method === 'POST') res.writeHead(204).end();
    else sendUser(res, session.userId);
  };
}

const loginOf = ({ url = '' }: IncomingMessage) => url.slice('/login/'.length);

function sendUser(res: ServerResponse, user: string): void {
  const body = JSON.stringify({ user });
  res.setHeader('content-type', 'application/json; charset=utf-8');
  res.setHeader('content-length', Buffer.byteLength(body));
  res.end(body);
}

serve(CONTESTANTS, (contestant, url) => createServer(contestant(url)).listen(0, '127.0.0.1'));

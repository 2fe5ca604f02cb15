/* One contestant of the part on `Request`: `fetch-server.ts <name> <Redis URL>`. It tells its port when asked. */
import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { parseCookie } from 'cookie';
import { getIronSession } from 'iron-session';
import { SessionError } from 'tokensession';
import { requireUser, sessionOpener } from 'tokensession/fetch';
import { type ManagerOptions, managerOn } from './contestants';
import { IRON_OPTIONS, type SealedUser } from './iron-options';
import { serve } from './server';

type Serve = (request: Request) => Response | Promise<Response>;

const CONTESTANTS: Record<string, (url: string) => Serve> = {
  bare: () => () => Response.json({ user: 'user-00' }),

  /** What every session costs at least: the cookie is looked at. */
  floor: () => (request) => {
    const cookies = parseCookie(request.headers.get('cookie') ?? '');
    return cookies.session === undefined ? refused() : Response.json({ user: 'user-00' });
  },

  tokensession: (url) => tokensession(url),
  'tokensession, cached': (url) => tokensession(url, { cache: true }),

  /** Sealed anew with each response, so that it slides, as ours do. */
  'iron-session': () => ironSession({ rolling: true }),
  'iron-session, not rolling': () => ironSession({ rolling: false }),
};

function tokensession(url: string, options: ManagerOptions = {}): Serve {
  const openSession = sessionOpener(managerOn(url, options));
  return async (request) => {
    try {
      const session = await openSession(request);
      if (request.method !== 'POST') return session.commit(Response.json({ user: requireUser(session).id }));
      await session.login(loginOf(request));
      return session.commit(empty());
    } catch (error) {
      if (error instanceof SessionError) return error.getResponse();
      throw error;
    }
  };
}

function ironSession({ rolling }: { rolling: boolean }): Serve {
  return async (request) => {
    const headers = new Headers();
    // It puts its cookie into a response that must be there before the user is known; it uses the headers alone.
    const session = await getIronSession<SealedUser>(request, { headers } as Response, IRON_OPTIONS);
    const isLogin = request.method === 'POST';
    if (isLogin) session.userId = loginOf(request);
    if (session.userId === undefined) return refused();
    if (rolling || isLogin) await session.save();
    return isLogin ? empty(headers) : Response.json({ user: session.userId }, { headers });
  };
}

const loginOf = ({ url }: Request) => new URL(url).pathname.slice('/login/'.length);
const empty = (headers = new Headers()) => new Response(null, { status: 204, headers });
const refused = () => new Response(null, { status: 401 });

serve(CONTESTANTS, (contestant, url) => createServer(getRequestListener(contestant(url))).listen(0, '127.0.0.1'));

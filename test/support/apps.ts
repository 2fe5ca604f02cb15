import { once } from 'node:events';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MemoryStore, TokenManager, type TokenManagerOptions } from 'tokensession';
import type { RequestSession, SessionMiddlewareOptions } from 'tokensession/express';
import type { closeAfterEach } from './closing';
import { countedStore } from './counted-store';
import { ALL_HOSTS, type HOSTS } from './hosts';
import type { GuardName, Host } from './hosts/host';
import { SECRET } from './stores';

export { RECENT } from './hosts/host';

export interface Detail {
  name: string;
}

export type Session = RequestSession<Detail>;

/** The handler of a path; its result is sent as JSON, unless it has sent a response. */
export type Routes = Record<string, (session: Session, query: URLSearchParams, res: ServerResponse) => unknown>;

export interface AppOptions extends SessionMiddlewareOptions {
  routes?: Routes;
  /** Whether the host trusts X-Forwarded-Proto, X-Forwarded-For and X-Forwarded-Host. */
  trustProxy?: boolean;
}

type Build = (manager: TokenManager<Detail>, options: AppOptions) => RequestListener;

/**
 * `/me` and `/page` require a user, `/vault` a recent login, the other paths nothing.
 */
const ROUTES: Routes = {
  '/me': (session) => ({ user: session.user }),
  '/page': (session) => ({ user: session.user }),
  '/vault': (session) => ({ user: session.user }),
  '/session': (session) => ({ ...session.toJSON(), token: session.token }),
  '/login': async (session, query) => {
    const ttl = query.get('ttl');
    const token = await session.login(query.get('user') ?? '', ttl === null ? {} : { ttl: Number(ttl) });
    return { token, user: session.user, id: session.id };
  },
  '/logout': async (session, query) => {
    await session.logout({ everywhere: query.has('everywhere') });
    return { user: session.user };
  },
};

const GUARDS: Record<string, GuardName> = { '/me': 'user', '/page': 'page', '/vault': 'recent' };

/** The same small application, on each host. */
export const APPS = ALL_HOSTS.map(([name, host]): [name: string, build: Build, host: Host] => [
  name,
  appOn(host),
  host,
]);

/** The same by the names of the hosts. */
export const FRAMEWORKS = Object.fromEntries(APPS) as Record<keyof typeof HOSTS, Build>;

function appOn(host: Host): Build {
  return (manager, { routes = {}, trustProxy = false, ...options }) =>
    host.build({
      mounts: [{ manager, options }],
      trustProxy,
      guardOf: (path) => GUARDS[path],
      handle: ({ path, session, query, res }) => ({ ...ROUTES, ...routes })[path]?.(session as Session, query, res),
    });
}

/** An application and its manager, which both close after the test, and the calls to the store. */
export async function serve(
  onClose: ReturnType<typeof closeAfterEach>,
  build: Build,
  options: AppOptions = {},
  policy: Partial<TokenManagerOptions<Detail>> = {},
) {
  const { store, calls } = countedStore(policy.store ?? new MemoryStore());
  const manager = new TokenManager<Detail>({ secret: SECRET, ...policy, store });
  const { url, close } = await listen(build(manager, options));
  onClose(() => manager.close());
  onClose(close);
  return { manager, calls, url };
}

export interface RunningApp {
  readonly url: string;
  close(): Promise<void>;
}

export async function listen(listener: RequestListener): Promise<RunningApp> {
  // A client on a busy machine may send a request just when an idle connection is closed.
  const server: Server = createServer({ keepAliveTimeout: 60_000 }, listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

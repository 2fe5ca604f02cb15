import type { TokenManager } from 'tokensession';
import type { SessionMiddlewareOptions } from 'tokensession/express';
import { ALL_HOSTS } from './hosts';
import type { Host } from './hosts/host';

export type { AnySession as DirectSession, DirectAnswer, DirectRequest } from './hosts/host';

/** The middleware alone, on each host. */
export function directMiddlewares(
  manager: TokenManager,
  options?: SessionMiddlewareOptions,
): { name: string; send: ReturnType<Host['direct']> }[] {
  return ALL_HOSTS.map(([name, host]) => ({ name, send: host.direct(manager, options) }));
}

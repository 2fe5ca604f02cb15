/* What the servers of the parts over HTTP have in common. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RedisStore, TokenManager } from 'tokensession';
import { answerQuestions } from './child';
import { startProfile, stopProfile } from './profiler';

/** The signing key of all contestants. */
export const SECRET = 'a secret that is long enough to be one';

/** Seconds that a session of any contestant lives without a request. */
export const TTL = 7 * 24 * 3600;

/** Options that tell our contestants apart. */
export interface ManagerOptions {
  cache?: true;
}

export function managerOn(url: string, options: ManagerOptions): TokenManager {
  return new TokenManager({ store: new RedisStore(url), secret: SECRET, ttl: TTL, ...options });
}

/**
 * Starts the contestant that the program's arguments name, `<name> <Redis URL>`, and lets the bench ask for its port
 * and its profile.
 * Its connections stay open while others have their turns.
 */
export async function serve<Contestant>(
  contestants: Record<string, Contestant>,
  listen: (contestant: Contestant, url: string) => Server | Promise<Server>,
): Promise<void> {
  const [name = '', url = ''] = process.argv.slice(2);
  const server = await listen(contestantNamed(name, contestants), url);
  server.keepAliveTimeout = 0;
  if (!server.listening) await once(server, 'listening');
  answerQuestions((question) => {
    if (question === 'start profile') return startProfile();
    if (question === 'stop profile') return stopProfile();
    return (server.address() as AddressInfo).port;
  });
}

export function contestantNamed<Contestant>(name: string, contestants: Record<string, Contestant>): Contestant {
  const contestant = contestants[name];
  if (contestant === undefined) throw new Error(`there is no contestant ${name}`);
  return contestant;
}

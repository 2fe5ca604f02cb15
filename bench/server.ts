/* What the servers of the parts over HTTP have in common. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerQuestions } from './child';
import { contestantNamed } from './contestants';
import { startProfile, stopProfile } from './profiler';

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

import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerQuestions } from './child';

/** Lets the bench ask a server for its port. Its connections stay open while others have their turns. */
export async function answerForServer(server: Server): Promise<void> {
  server.keepAliveTimeout = 0;
  await once(server, 'listening');
  answerQuestions(() => (server.address() as AddressInfo).port);
}

export function contestantNamed<Contestant>(name: string, contestants: Record<string, Contestant>): Contestant {
  const contestant = contestants[name];
  if (contestant === undefined) throw new Error(`there is no contestant ${name}`);
  return contestant;
}

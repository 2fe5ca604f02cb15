import { pageText } from './doc-pages';
import { ask, type RedisServer } from './redis-server';

/** The user and the password in the documented ACLs. */
export const ACL_LOGIN = { username: 'sessions', password: 'a password' };

/** The `ACL SETUSER` lines of a document, each as the words that redis-cli would send. */
export function aclsIn(document: string): string[][] {
  return [...pageText(document).matchAll(/^\$ redis-cli (ACL SETUSER .*)$/gm)].map(([, command]) =>
    [...(command as string).matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, word]) => (quoted ?? word) as string),
  );
}

export async function setAcl(servers: readonly RedisServer[], [name, ...words]: readonly string[]): Promise<void> {
  await Promise.all(servers.map((server) => ask(server, name as string, ...words)));
}

/** The commands that these servers have refused, except CLIENT SETINFO of ioredis, which is optional. */
export async function refusalsOf(servers: readonly RedisServer[]): Promise<string[]> {
  const logs = await Promise.all(servers.map((server) => ask<(string | number)[][]>(server, 'ACL', 'LOG')));
  const entries = logs.flat().map((entry) => String(entry[entry.indexOf('object') + 1]));
  return entries.filter((object) => object !== 'client|setinfo');
}

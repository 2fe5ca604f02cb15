import { hash } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { SCRIPTS, type ScriptName } from './scripts/index';

type Command = (numberOfKeys: number, ...keysAndArguments: (string | number)[]) => Promise<unknown>;

export type ScriptCommands = Record<ScriptName, Command>;

/**
 * Makes our scripts commands of the client, under names that say whose they are and which version, so that two versions of this package
 * can share a client. ioredis sends EVALSHA, and the script itself to a connection that hasn't seen it.
 */
export function defineScripts(client: Redis | Cluster): ScriptCommands {
  const scripts = Object.entries(SCRIPTS).map(([name, lua]) => {
    const command = `tokensession:${name}:${hash('sha1', lua).slice(0, 8)}`;
    client.defineCommand(command, { lua });
    const script = (client as unknown as Record<string, Command>)[command] as Command;
    return [name, script.bind(client)];
  });
  return Object.fromEntries(scripts) as ScriptCommands;
}

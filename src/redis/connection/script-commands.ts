import { hash } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { SCRIPTS, type ScriptName } from '../scripts/index';

export type ScriptCommand = (numberOfKeys: number, ...keysAndArguments: (string | number)[]) => Promise<unknown>;

export type ScriptCommands = Record<ScriptName, ScriptCommand>;

/**
 * Defines our scripts as commands of the client. Their names carry this package's name and the script's version, so
 * that two versions of the package can share a client. ioredis sends EVALSHA, and the script itself to a connection
 * that hasn't seen it.
 *
 * The commands stay out of automatic pipelines. Those mistake the number of keys for the key, hold calls back behind
 * slower ones, and follow no redirection of only some of their commands.
 */
export function defineScripts(client: Redis | Cluster): ScriptCommands {
  const scripts = Object.entries(SCRIPTS).map(([name, lua]) => {
    const command = `tokensession:${name}:${hash('sha1', lua).slice(0, 8)}`;
    client.defineCommand(command, { lua });
    const ignored = client.options.autoPipeliningIgnoredCommands ?? [];
    // The list may be shared: the default of all clients.
    if (!ignored.includes(command)) client.options.autoPipeliningIgnoredCommands = [...ignored, command];
    const script = (client as unknown as Record<string, ScriptCommand>)[command] as ScriptCommand;
    return [name, script.bind(client)];
  });
  return Object.fromEntries(scripts) as ScriptCommands;
}

import type { Cluster, Redis } from 'ioredis';
import { SessionError } from '../core/errors';
import { isRefusedDatabase, sessionErrorOf, withoutArguments } from './redis-errors';
import { SCRIPTS, type ScriptName } from './redis-scripts';

/** Goes into the names of the scripts on a client, so that two versions of this package can share one. Raised with every change to them. */
const SCRIPTS_VERSION = 1;

type Script = (...keysAndArguments: (string | number)[]) => Promise<unknown>;

interface ConnectionOptions {
  /** Whether the client is ours to listen to and to close. */
  owned: boolean;
  timeoutMs: number;
}

/**
 * Runs scripts and commands on a client so that each settles within the deadline.
 *
 * Nothing is handed to a client that isn't ready: a command that waits in a queue runs after its caller was told that it failed.
 * A call made while a connection is being set up waits for it, within its deadline; once an attempt has failed, calls fail
 * at once until the client has got through.
 */
export class RedisConnection {
  readonly #client: Redis | Cluster;
  readonly #owned: boolean;
  readonly #timeoutMs: number;
  readonly #scripts: Record<ScriptName, Script>;
  /** Settles with the connection attempt under way. */
  #ready: Promise<void> | null = null;
  /** Whether an attempt to connect has failed since the client was last ready. */
  #down = false;
  /** What the client last reported, to say why a call failed. Known for an owned client only: who owns it listens. */
  #lastError: unknown;
  #closed: Promise<void> | null = null;

  constructor(client: Redis | Cluster, { owned, timeoutMs }: ConnectionOptions) {
    this.#client = client;
    this.#owned = owned;
    this.#timeoutMs = timeoutMs;
    this.#scripts = defineScripts(client);
    this.#follow();
  }

  run<Reply>(name: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<Reply> {
    return this.send(() => this.#scripts[name](...keys, ...args) as Promise<Reply>);
  }

  /** Sends what the function sends, once the client is ready. */
  send<Reply>(command: (client: Redis | Cluster) => Promise<Reply>): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let overdue = false;
      const timer = setTimeout(() => {
        // Timers go before sockets: when this process itself was held up, the answer may be here and not yet read.
        setImmediate(() => {
          overdue = true;
          reject(this.#timeout());
        });
      }, this.#timeoutMs);
      const settle = (error: unknown, reply?: Reply) => {
        clearTimeout(timer);
        if (error === null) resolve(reply as Reply);
        else reject(error instanceof SessionError ? error : sessionErrorOf(error));
      };
      const start = () => {
        if (overdue) return;
        command(this.#client).then((reply) => settle(null, reply), settle);
      };
      if (this.#client.status === 'ready' && this.#closed === null) start();
      else this.#whenReady().then(start, settle);
    });
  }

  /** Waits for the answers under way, as long as any of them may take, and closes the client if it is ours. */
  close(): Promise<void> {
    this.#closed ??= this.#owned ? this.#quit() : Promise.resolve();
    return this.#closed;
  }

  async #quit(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#timeoutMs);
    });
    const quit = this.#client.status === 'ready' ? this.#client.quit() : Promise.resolve();
    await Promise.race([Promise.allSettled([quit]), deadline]);
    clearTimeout(timer);
    if (this.#client.status !== 'end') this.#client.disconnect();
  }

  #follow(): void {
    const client = this.#client;
    let wasReady = client.status === 'ready';
    // One failure may bring several errors, of which the first says why.
    let isFirstError = true;
    client.on('ready', () => {
      wasReady = true;
      isFirstError = true;
      this.#down = false;
      this.#lastError = undefined;
    });
    client.on('close', () => {
      this.#down = !wasReady;
      wasReady = false;
      isFirstError = true;
    });
    client.on('end', () => {
      this.#down = true;
    });
    if (!this.#owned) return;
    client.on('error', (error) => {
      if (isFirstError) this.#lastError = withoutArguments(error);
      isFirstError = false;
      // ioredis would go on in database 0, among another application's sessions.
      if (isRefusedDatabase(error)) client.disconnect(true);
    });
  }

  async #whenReady(): Promise<void> {
    if (this.#closed !== null) throw new SessionError('ERR_STORE_UNAVAILABLE', 'the store is closed');
    if (this.#down) throw this.#unavailable();
    this.#ready ??= this.#nextAttempt().finally(() => {
      this.#ready = null;
    });
    await this.#ready;
  }

  /** Resolves when the client is ready, rejects when the attempt to connect fails. */
  #nextAttempt(): Promise<void> {
    const client = this.#client;
    return new Promise((resolve, reject) => {
      const settle = (outcome: () => void) => () => {
        client.off('ready', onReady).off('close', onFailure).off('end', onFailure);
        outcome();
      };
      const onReady = settle(resolve);
      const onFailure = settle(() => reject(this.#unavailable()));
      client.on('ready', onReady).on('close', onFailure).on('end', onFailure);
      if (client.status === 'wait') client.connect().catch(onFailure);
    });
  }

  #unavailable(): SessionError {
    const status = JSON.stringify(this.#client.status);
    return sessionErrorOf(this.#lastError, `Redis can't be reached (the client's status is ${status})`);
  }

  #timeout(): SessionError {
    return new SessionError('ERR_STORE_TIMEOUT', `Redis gave no answer within ${this.#timeoutMs} ms`);
  }
}

/** Makes our scripts commands of the client. ioredis sends EVALSHA, and the script itself to a connection that hasn't seen it. */
function defineScripts(client: Redis | Cluster): Record<ScriptName, Script> {
  const scripts = Object.entries(SCRIPTS).map(([name, definition]) => {
    const command = `tokensession:${SCRIPTS_VERSION}:${name}`;
    client.defineCommand(command, definition);
    const script = (client as unknown as Record<string, Script>)[command] as Script;
    return [name, script.bind(client)];
  });
  return Object.fromEntries(scripts) as Record<ScriptName, Script>;
}

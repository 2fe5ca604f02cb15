import { hash } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { SessionError } from '../core/errors';
import { isRefusedDatabase, sessionErrorOf, withoutArguments } from './redis-errors';
import { SCRIPTS, type ScriptName } from './redis-scripts';

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
  #down: boolean;
  #wasReady: boolean;
  /** What the client last reported, to say why a call failed. Known for an owned client only: who owns it listens. */
  #lastError: unknown;
  /** One failure may bring several errors, of which the first says why. */
  #isFirstError = true;
  #closed: Promise<void> | null = null;

  constructor(client: Redis | Cluster, { owned, timeoutMs }: ConnectionOptions) {
    this.#client = client;
    this.#owned = owned;
    this.#timeoutMs = timeoutMs;
    this.#scripts = defineScripts(client);
    this.#wasReady = client.status === 'ready';
    this.#down = client.status === 'end';
    client.on('ready', this.#onReady).on('close', this.#onClose).on('end', this.#onEnd);
    if (owned) client.on('error', this.#onError);
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
      const succeed = (reply: Reply) => {
        clearTimeout(timer);
        resolve(reply);
      };
      const fail = (error: unknown) => {
        clearTimeout(timer);
        reject(error instanceof SessionError ? error : sessionErrorOf(error));
      };
      const start = () => {
        if (!overdue) command(this.#client).then(succeed, fail);
      };
      if (this.#client.status === 'ready' && this.#closed === null) start();
      else this.#whenReady().then(start).catch(fail);
    });
  }

  /** Waits for the answers under way, as long as the slowest may take, and closes the client if it is ours. */
  close(): Promise<void> {
    this.#closed ??= this.#owned ? this.#quit() : this.#letGo();
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

  async #letGo(): Promise<void> {
    this.#client.off('ready', this.#onReady).off('close', this.#onClose).off('end', this.#onEnd);
  }

  readonly #onReady = () => {
    this.#wasReady = true;
    this.#isFirstError = true;
    this.#down = false;
    this.#lastError = undefined;
  };

  readonly #onClose = () => {
    this.#down = !this.#wasReady;
    this.#wasReady = false;
    this.#isFirstError = true;
  };

  readonly #onEnd = () => {
    this.#down = true;
  };

  readonly #onError = (error: unknown) => {
    if (this.#isFirstError) this.#lastError = withoutArguments(error);
    this.#isFirstError = false;
    // ioredis would go on in database 0, among another application's sessions.
    if (isRefusedDatabase(error)) (this.#client as Redis).disconnect(true);
  };

  async #whenReady(): Promise<void> {
    if (this.#down || this.#closed !== null) throw this.#unavailable();
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
    if (this.#closed !== null) return new SessionError('ERR_STORE_UNAVAILABLE', 'the store is closed');
    const status = JSON.stringify(this.#client.status);
    return sessionErrorOf(this.#lastError, `Redis can't be reached (the client's status is ${status})`);
  }

  #timeout(): SessionError {
    return new SessionError('ERR_STORE_TIMEOUT', `Redis gave no answer within ${this.#timeoutMs} ms`);
  }
}

/**
 * Makes our scripts commands of the client, under names that say whose they are and which version, so that two versions of this package
 * can share a client. ioredis sends EVALSHA, and the script itself to a connection that hasn't seen it.
 */
function defineScripts(client: Redis | Cluster): Record<ScriptName, Script> {
  const scripts = Object.entries(SCRIPTS).map(([name, definition]) => {
    const command = `tokensession:${name}:${hash('sha1', definition.lua).slice(0, 8)}`;
    client.defineCommand(command, definition);
    const script = (client as unknown as Record<string, Script>)[command] as Script;
    return [name, script.bind(client)];
  });
  return Object.fromEntries(scripts) as Record<ScriptName, Script>;
}

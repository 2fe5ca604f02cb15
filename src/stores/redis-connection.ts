import { hash } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { type Cluster, Command, type Redis } from 'ioredis';
import { SessionError } from '../core/errors';
import { CircuitBreaker } from './circuit-breaker';
import { isErrorReply, isRefusedDatabase, isSplitSlot, sessionErrorOf, withoutArguments } from './redis-errors';
import { SCRIPTS, type ScriptName } from './redis-scripts';

type Listener = (argument: unknown) => void;
type Script = (numberOfKeys: number, ...keysAndArguments: (string | number)[]) => Promise<unknown>;

interface ConnectionOptions {
  /** Whether the client is ours to listen to and to close. */
  owned: boolean;
  timeoutMs: number;
}

/** Who wants to know when servers may have changed. */
export interface ServerWatcher {
  /** A connection broke: to this server, or to all. */
  lost(server?: string): void;
  /** There is a connection again, or another server took over. Called before any call can use it. */
  changed(): void;
}

/** A Redis that is not one of a Cluster, and so has no address that matters. */
const THE_SERVER = 'redis';

/**
 * Runs scripts and commands on a client so that each settles within the deadline.
 *
 * Nothing is handed to a client that isn't ready: a command that waits in a queue runs after its caller was told that it failed.
 * A call made while a connection is being set up waits for it, within its deadline; once an attempt has failed, calls fail
 * at once until the client has got through. What is connected and leaves calls unanswered is left to a circuit breaker, a server each.
 */
export class RedisConnection {
  readonly #client: Redis | Cluster;
  /** The same client, when it is one of a Cluster. */
  readonly #cluster: Cluster | null;
  readonly #owned: boolean;
  readonly #timeoutMs: number;
  readonly #scripts: Record<ScriptName, Script>;
  readonly #breaker = new CircuitBreaker();
  #watcher: ServerWatcher | null = null;
  /** Settles with the connection attempt under way. */
  #ready: Promise<void> | null = null;
  /** Whether an attempt to connect has failed since the client was last ready. */
  #down: boolean;
  #wasReady: boolean;
  /** What the client last reported, to say why a call failed. Known for an owned client only: who owns it listens. */
  #lastError: unknown;
  /** One failure may bring several errors, of which the first says why. */
  #isFirstError = true;
  #refusal: { error: SessionError; at: number } | null = null;
  #callsUnderWay = 0;
  #onLastCall: (() => void) | null = null;
  #closed: Promise<void> | null = null;

  constructor(client: Redis | Cluster, { owned, timeoutMs }: ConnectionOptions) {
    this.#client = client;
    this.#cluster = client.isCluster ? (client as Cluster) : null;
    this.#owned = owned;
    this.#timeoutMs = timeoutMs;
    this.#scripts = defineScripts(client);
    this.#wasReady = client.status === 'ready';
    this.#down = client.status === 'end';
    this.#listen('on');
  }

  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** The server that a key's calls go to: of a Cluster, as far as the client knows, the master that owns its slot. */
  serverOf(key: string): string {
    if (this.#cluster === null) return THE_SERVER;
    const slot = new Command('GET', [key]).getSlot() ?? 0;
    return this.#cluster.slots[slot]?.[0] ?? '';
  }

  /** Every server that calls may go to, as far as the client knows. */
  servers(): string[] {
    if (this.#cluster === null) return [THE_SERVER];
    return [...new Set(this.#cluster.slots.map((owners) => owners?.[0] ?? ''))].filter((server) => server !== '');
  }

  /** The last refusal to serve that Redis itself has answered with, if it was that recent. */
  refusedWithin(ms: number): SessionError | null {
    return this.#refusal !== null && performance.now() - this.#refusal.at < ms ? this.#refusal.error : null;
  }

  /** Tells one watcher of every change of servers from now on. */
  watch(watcher: ServerWatcher): void {
    this.#watcher = watcher;
  }

  /** Runs a script. While a Cluster moves the keys to another node one by one, on the first of them alone. */
  run<Reply>(
    name: ScriptName,
    keys: readonly [string, ...string[]],
    args: readonly (string | number)[],
    timeoutMs = this.#timeoutMs,
  ): Promise<Reply> {
    const script = this.#scripts[name] as (...args: (string | number)[]) => Promise<Reply>;
    const call = () => script(keys.length, ...keys, ...args);
    if (this.#cluster === null || keys.length === 1) return this.send(keys[0], call, timeoutMs);
    const onFirstKey = (error: unknown) => {
      if (!isSplitSlot(error)) throw error;
      return script(1, keys[0], ...args);
    };
    return this.send(keys[0], () => call().catch(onFirstKey), timeoutMs);
  }

  /** Sends what the function sends, once the client is ready, to the server that holds the key. */
  send<Reply>(
    key: string,
    command: (client: Redis | Cluster) => Promise<Reply>,
    timeoutMs = this.#timeoutMs,
  ): Promise<Reply> {
    if (!this.#breaker.isIdle) {
      const refusal = this.#breaker.refusal(this.serverOf(key));
      if (refusal !== null) return Promise.reject(refusal);
    }
    return this.#settleInTime(() => command(this.#client), timeoutMs, {
      answered: () => {
        if (!this.#breaker.isIdle) this.#breaker.answered(this.serverOf(key));
      },
      unanswered: (error) => this.#breaker.unanswered(this.serverOf(key), error, () => this.#probe(key)),
    });
  }

  /** Sends what the function sends to one of {@link servers}. */
  sendTo<Reply>(server: string, command: (redis: Redis) => Promise<Reply>): Promise<Reply> {
    const refusal = this.#breaker.refusal(server);
    if (refusal !== null) return Promise.reject(refusal);
    return this.#settleInTime(async () => command(this.#clientOf(server)), this.#timeoutMs, null);
  }

  #settleInTime<Reply>(
    command: () => Promise<Reply>,
    timeoutMs: number,
    outcome: { answered: () => void; unanswered: (error: SessionError) => void } | null,
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let isSettled = false;
      const settle = () => {
        isSettled = true;
        clearTimeout(timer);
        this.#callsUnderWay--;
        this.#onLastCall?.();
      };
      const overdue = () => {
        if (isSettled) return;
        settle();
        const error = this.#timeout(timeoutMs);
        outcome?.unanswered(error);
        reject(error);
      };
      // Timers go before sockets: when this process itself was held up, the answer may be here and not yet read.
      const timer = setTimeout(() => setImmediate(overdue), timeoutMs);
      const succeed = (reply: Reply) => {
        if (isSettled) return;
        settle();
        outcome?.answered();
        resolve(reply);
      };
      const fail = (reason: unknown) => {
        if (isSettled) return;
        settle();
        const error = reason instanceof SessionError ? reason : sessionErrorOf(reason);
        if (isErrorReply(reason)) {
          outcome?.answered();
          if (error.status === 503) this.#refusal = { error, at: performance.now() };
        } else if (this.#cluster !== null && reason !== error) {
          // Between the nodes of a Cluster there is no waiting for a connection: each call would try the dead one anew.
          outcome?.unanswered(error);
        }
        reject(error);
      };
      const start = () => {
        if (!isSettled) command().then(succeed, fail);
      };
      this.#callsUnderWay++;
      if (this.#client.status === 'ready' && this.#closed === null) start();
      else this.#whenReady().then(start).catch(fail);
    });
  }

  /** Waits for the answers under way, as long as the slowest may take, and closes the client if it is ours. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    if (this.#owned) await this.#callsSettled();
    this.#breaker.reset();
    this.#watcher = null;
    const isEnded = this.#client.status === 'end';
    if (this.#owned && !isEnded) this.#client.disconnect();
    // An owned client goes on to report how it ends, and an error without a listener is printed.
    else this.#listen('off');
  }

  #callsSettled(): Promise<void> {
    return new Promise((resolve) => {
      this.#onLastCall = () => {
        if (this.#callsUnderWay === 0) resolve();
      };
      this.#onLastCall();
    });
  }

  #listen(onOrOff: 'on' | 'off'): void {
    const client: EventEmitter = this.#client;
    const listeners: [event: string, listener: Listener][] = [
      ['ready', this.#onReady],
      ['close', this.#onClose],
      ['end', this.#onEnd],
    ];
    if (this.#owned) listeners.push(['error', this.#onError]);
    if (this.#cluster !== null) {
      listeners.push(['-node', this.#onNodeLost], ['+node', this.#onChanged], ['refresh', this.#onChanged]);
    }
    for (const [event, listener] of listeners) client[onOrOff](event, listener);
  }

  readonly #onReady = () => {
    this.#wasReady = true;
    this.#isFirstError = true;
    this.#down = false;
    this.#lastError = undefined;
    this.#breaker.reset();
    this.#watcher?.changed();
  };

  readonly #onClose = () => {
    this.#down = !this.#wasReady;
    this.#wasReady = false;
    this.#isFirstError = true;
    this.#watcher?.lost();
  };

  readonly #onEnd = () => {
    this.#down = true;
  };

  readonly #onError = (error: unknown) => {
    if (this.#isFirstError) this.#lastError = withoutArguments(error);
    this.#isFirstError = false;
    // ioredis would go on in database 0, among another application's sessions.
    if (isRefusedDatabase(error)) (this.#client as Redis).disconnect(true);
    // Looking for a master, it reports that no sentinel answers and goes on looking.
    if (this.#client.status === 'connecting') this.#down = true;
  };

  readonly #onNodeLost = (node: unknown) => {
    const { options } = node as Redis;
    this.#watcher?.lost(`${options.host}:${options.port}`);
  };

  readonly #onChanged = () => {
    if (this.#client.status === 'ready') this.#watcher?.changed();
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

  #clientOf(server: string): Redis {
    if (this.#cluster === null) return this.#client as Redis;
    const node = this.#cluster.nodes('master').find(({ options }) => `${options.host}:${options.port}` === server);
    if (node === undefined) throw new SessionError('ERR_STORE_UNAVAILABLE', 'there is no connection to it');
    return node;
  }

  /** Whether the server of this key answers in time, were it with an error. Waits for as long as the answer takes. */
  async #probe(key: string): Promise<boolean> {
    if (this.#client.status !== 'ready') return false;
    const start = performance.now();
    try {
      await this.#client.pttl(key);
    } catch (error) {
      if (!isErrorReply(error)) return false;
    }
    return performance.now() - start <= this.#timeoutMs;
  }

  #unavailable(): SessionError {
    if (this.#closed !== null) return new SessionError('ERR_STORE_UNAVAILABLE', 'the store is closed');
    const status = JSON.stringify(this.#client.status);
    return sessionErrorOf(this.#lastError, `Redis can't be reached (the client's status is ${status})`);
  }

  #timeout(timeoutMs: number): SessionError {
    return new SessionError('ERR_STORE_TIMEOUT', `Redis gave no answer within ${Math.round(timeoutMs)} ms`);
  }
}

/**
 * Makes our scripts commands of the client, under names that say whose they are and which version, so that two versions of this package
 * can share a client. ioredis sends EVALSHA, and the script itself to a connection that hasn't seen it.
 */
export function defineScripts(client: Redis | Cluster): Record<ScriptName, Script> {
  const scripts = Object.entries(SCRIPTS).map(([name, lua]) => {
    const command = `tokensession:${name}:${hash('sha1', lua).slice(0, 8)}`;
    client.defineCommand(command, { lua });
    const script = (client as unknown as Record<string, Script>)[command] as Script;
    return [name, script.bind(client)];
  });
  return Object.fromEntries(scripts) as Record<ScriptName, Script>;
}

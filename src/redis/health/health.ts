import type { StoreHealth } from '../../store/store';
import { isError, isRefusal } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import type { ServerRights } from './server-rights';

const NOT_ANNOUNCING =
  'it does not let changes be announced: near caches, here or elsewhere, keep ended sessions for their maxAgeMs';

interface Look {
  latencyMs: number | null;
  isServing: boolean;
  reasons: string[];
}

/**
 * Finds out the state of Redis: asks each master for its INFO, and tries the commands that our scripts need. The cost
 * is that of about ten checks.
 */
export class RedisHealth {
  readonly #connection: RedisConnection;
  readonly #rights: ServerRights;
  readonly #replicas: number;
  readonly #otherWorries: () => string[];
  #looking: Promise<StoreHealth> | null = null;

  /**
   * @param options.replicas how many each master should have.
   * @param options.otherWorries what else is not as it should be, a sentence each.
   */
  constructor(
    connection: RedisConnection,
    rights: ServerRights,
    { replicas, otherWorries }: { replicas: number; otherWorries: () => string[] },
  ) {
    this.#connection = connection;
    this.#rights = rights;
    this.#replicas = replicas;
    this.#otherWorries = otherWorries;
  }

  look(): Promise<StoreHealth> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #look(): Promise<StoreHealth> {
    const deadline = performance.now() + this.#connection.timeoutMs;
    try {
      await this.#connection.ready();
    } catch (error) {
      return { status: 'down', latencyMs: null, reasons: [reasonOf(error)] };
    }
    const servers = this.#connection.servers();
    const looks = await Promise.all(servers.map((server) => this.#lookAt(server, servers.length > 1, deadline)));
    const latencies = looks.map(({ latencyMs }) => latencyMs).filter((ms) => ms !== null);
    const isServed = looks.some(({ isServing }) => isServing);
    const reasons = [...looks.flatMap((look) => look.reasons), ...(isServed ? this.#otherWorries() : [])];
    return {
      status: reasons.length === 0 ? 'up' : isServed ? 'degraded' : 'down',
      latencyMs: latencies.length === 0 ? null : Math.max(...latencies),
      reasons,
    };
  }

  async #lookAt(server: string, isNamed: boolean, deadline: number): Promise<Look> {
    const prefix = isNamed ? `${server}: ` : '';
    const begin = performance.now();
    const left = Math.max(1, deadline - begin);
    try {
      const [worries, worriesOfReplicas, refused, refusalToAnnounce] = await Promise.all([
        this.#askForWorries(server, left),
        this.#tryWait(server, left),
        this.#rights.refusedCommands(server, left),
        this.#rights.refusalToAnnounce(server, left),
      ]);
      const latencyMs = Math.round((performance.now() - begin) * 10) / 10;
      if (latencyMs > this.#connection.timeoutMs / 2) worries.push(`it took ${latencyMs} ms to answer`);
      worries.push(...worriesOfReplicas, ...refused.map(({ name, words }) => `it refuses ${name} (${words})`));
      if (refusalToAnnounce !== null) worries.push(`${NOT_ANNOUNCING} (${wordsOfRefusal(refusalToAnnounce)})`);
      const isServing = !refused.some(({ isFatal }) => isFatal);
      return { latencyMs, isServing, reasons: worries.map((reason) => prefix + reason) };
    } catch (error) {
      return { latencyMs: null, isServing: false, reasons: [prefix + reasonOf(error)] };
    }
  }

  async #askForWorries(server: string, timeoutMs: number): Promise<string[]> {
    try {
      return this.#worriesOf(await this.#connection.sendTo(server, (redis) => redis.info(), timeoutMs));
    } catch (error) {
      return [`it refuses INFO, so that its memory and its replicas are unknown (${wordsOfRefusal(error)})`];
    }
  }

  async #tryWait(server: string, timeoutMs: number): Promise<string[]> {
    if (this.#replicas === 0) return [];
    try {
      // For 0 replicas, and so without a wait.
      await this.#connection.sendTo(server, (redis) => redis.call('WAIT', 0, 0), timeoutMs);
      return [];
    } catch (error) {
      return [`it refuses WAIT, which durability needs (${wordsOfRefusal(error)})`];
    }
  }

  #worriesOf(text: string): string[] {
    const field = (name: string) => new RegExp(`^${name}:(.*)$`, 'm').exec(text)?.[1];
    const number = (name: string) => Number(field(name) ?? 0);
    const worries: string[] = [];
    if (number('maxmemory') > 0 && number('used_memory') >= number('maxmemory')) {
      const isRefusing = field('maxmemory_policy') === 'noeviction';
      worries.push(`it is out of memory: ${isRefusing ? 'logins are refused' : 'sessions may be evicted'}`);
    }
    if (number('connected_slaves') < this.#replicas) {
      worries.push(`it has ${number('connected_slaves')} replicas of the ${this.#replicas} that durability asks for`);
    }
    return worries;
  }
}

/** The failure and its reason, if known. */
function reasonOf(error: unknown): string {
  if (!isError(error)) return String(error);
  return isError(error.cause) ? `${error.message} (${error.cause.message})` : error.message;
}

/** @throws an error that is no refusal. */
function wordsOfRefusal(error: unknown): string {
  if (!isRefusal(error)) throw error;
  const { message, cause } = error as Error;
  return isError(cause) ? cause.message : message;
}

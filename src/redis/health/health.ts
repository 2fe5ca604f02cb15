import type { HealthReport } from '../../store/store';
import { isError, isRefusal, wordsOf } from '../client/errors';
import type { RedisConnection } from '../connection/connection';
import { extendIfReadLate } from '../connection/deadline-scripts';
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
  readonly #otherReasons: () => string[];
  #looking: Promise<HealthReport> | null = null;

  /**
   * @param options.replicas how many each master should have.
   * @param options.otherReasons gives what else is not as it should be, a sentence each.
   */
  constructor(
    connection: RedisConnection,
    rights: ServerRights,
    { replicas, otherReasons }: { replicas: number; otherReasons: () => string[] },
  ) {
    this.#connection = connection;
    this.#rights = rights;
    this.#replicas = replicas;
    this.#otherReasons = otherReasons;
  }

  look(): Promise<HealthReport> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #look(): Promise<HealthReport> {
    const { timeoutMs } = this.#connection;
    const call = { deadline: performance.now() + timeoutMs };
    try {
      await this.#connection.ready();
    } catch (error) {
      return { status: 'down', latencyMs: null, reasons: [wordsOf(error)] };
    }
    extendIfReadLate(call, timeoutMs);
    const servers = this.#connection.servers();
    const looks = await Promise.all(servers.map((server) => this.#lookAt(server, servers.length > 1, call.deadline)));
    const latencies = looks.map(({ latencyMs }) => latencyMs).filter((ms) => ms !== null);
    const isServed = looks.some(({ isServing }) => isServing);
    const reasons = [...looks.flatMap((look) => look.reasons), ...(isServed ? this.#otherReasons() : [])];
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
      const [reasons, reasonsOfReplicas, refused, refusalToAnnounce] = await Promise.all([
        this.#tryInfo(server, left),
        this.#tryWait(server, left),
        this.#rights.refusedCommands(server, left),
        this.#rights.refusalToAnnounce(server, left),
      ]);
      const latencyMs = Math.round((performance.now() - begin) * 10) / 10;
      if (latencyMs > this.#connection.timeoutMs / 2) reasons.push(`it took ${latencyMs} ms to answer`);
      reasons.push(...reasonsOfReplicas, ...refused.map(({ name, words }) => `it refuses ${name} (${words})`));
      if (refusalToAnnounce !== null) reasons.push(`${NOT_ANNOUNCING} (${wordsOfRefusal(refusalToAnnounce)})`);
      const isServing = !refused.some(({ isFatal }) => isFatal);
      return { latencyMs, isServing, reasons: reasons.map((reason) => prefix + reason) };
    } catch (error) {
      return { latencyMs: null, isServing: false, reasons: [prefix + wordsOf(error)] };
    }
  }

  async #tryInfo(server: string, timeoutMs: number): Promise<string[]> {
    try {
      return this.#reasonsIn(await this.#connection.sendTo(server, (redis) => redis.info(), timeoutMs));
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

  #reasonsIn(info: string): string[] {
    const field = (name: string) => new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1];
    const number = (name: string) => Number(field(name) ?? 0);
    const reasons: string[] = [];
    if (number('maxmemory') > 0 && number('used_memory') >= number('maxmemory')) {
      const isRefusing = field('maxmemory_policy') === 'noeviction';
      reasons.push(`it is out of memory: ${isRefusing ? 'logins are refused' : 'sessions may be evicted'}`);
    }
    if (number('connected_slaves') < this.#replicas) {
      reasons.push(`it has ${number('connected_slaves')} replicas of the ${this.#replicas} that durability asks for`);
    }
    return reasons;
  }
}

/** @throws an error that is no refusal. */
function wordsOfRefusal(error: unknown): string {
  if (!isRefusal(error)) throw error;
  const { message, cause } = error as Error;
  return isError(cause) ? cause.message : message;
}

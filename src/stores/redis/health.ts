import type { StoreHealth } from '../../core/store';
import type { RedisConnection } from './connection';
import type { RedisKeys } from './keys';

/** Names tried for a key that one server of a Cluster holds: with 1,000 masters, one in a thousand. */
const MAX_KEYS = 10_000;

/** What was found of one server. */
interface Look {
  latencyMs: number | null;
  isServing: boolean;
  reasons: string[];
}

/**
 * Finds out how Redis is, by an INFO and a write that changes nothing, of each master: what that costs is about what ten checks cost.
 */
export class RedisHealth {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  readonly #replicas: number;
  /** For each server a key that it held when it was last looked at. */
  readonly #keyOn = new Map<string, string>();
  /** The servers that have let us announce changes. */
  readonly #tells = new Set<string>();
  #underWay: Promise<StoreHealth> | null = null;

  /** @param replicas how many each master should have. */
  constructor(connection: RedisConnection, keys: RedisKeys, replicas: number) {
    this.#connection = connection;
    this.#keys = keys;
    this.#replicas = replicas;
  }

  look(): Promise<StoreHealth> {
    this.#underWay ??= this.#look().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
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
    const reasons = looks.flatMap((look) => look.reasons);
    return {
      status: reasons.length === 0 ? 'up' : looks.some(({ isServing }) => isServing) ? 'degraded' : 'down',
      latencyMs: latencies.length === 0 ? null : Math.max(...latencies),
      reasons,
    };
  }

  async #lookAt(server: string, isNamed: boolean, deadline: number): Promise<Look> {
    const prefix = isNamed ? `${server}: ` : '';
    const begin = performance.now();
    const left = Math.max(1, deadline - begin);
    try {
      const [info] = await Promise.all([
        this.#connection.sendTo(server, (redis) => redis.info(), left),
        this.#writeNothing(server, left),
      ]);
      const latencyMs = Math.round((performance.now() - begin) * 10) / 10;
      const worries = [...this.#worriesOf(info, latencyMs), ...(await this.#worriesOfTelling(server, left))];
      return { latencyMs, isServing: true, reasons: worries.map((reason) => prefix + reason) };
    } catch (error) {
      return { latencyMs: null, isServing: false, reasons: [prefix + reasonOf(error)] };
    }
  }

  /** What a replica refuses, and a master that has too few of them, can't save, or doesn't let us. */
  async #writeNothing(server: string, timeoutMs: number): Promise<void> {
    const key = this.#keyHeldBy(server);
    if (key !== null) await this.#connection.send(key, (client) => client.hdel(key, ''), timeoutMs);
  }

  /** Scripts go on where they may not tell of a change; whoever relies on being told should know. Asked until it works. */
  async #worriesOfTelling(server: string, timeoutMs: number): Promise<string[]> {
    if (this.#tells.has(server)) return [];
    const channel = this.#connection.keyPrefix + this.#keys.channels[0];
    try {
      await this.#connection.sendTo(server, (redis) => redis.publish(channel, ''), timeoutMs);
      this.#tells.add(server);
      return [];
    } catch (error) {
      if (!(error instanceof Error && error.cause instanceof Error && /NOPERM/.test(error.cause.message))) return [];
      return [
        'it does not let changes be announced: near caches, here or elsewhere, keep ended sessions for their maxAgeMs',
      ];
    }
  }

  #keyHeldBy(server: string): string | null {
    const known = this.#keyOn.get(server);
    if (known !== undefined && this.#connection.serverOf(known) === server) return known;
    for (let i = 0; i < MAX_KEYS; i++) {
      const key = this.#keys.sessions(`health-${i}`);
      if (this.#connection.serverOf(key) !== server) continue;
      this.#keyOn.set(server, key);
      return key;
    }
    return null;
  }

  #worriesOf(text: string, latencyMs: number): string[] {
    const info = fieldsOf(text);
    const number = (name: string) => Number(info.get(name) ?? 0);
    const worries: string[] = [];
    if (latencyMs > this.#connection.timeoutMs / 2) worries.push(`it took ${latencyMs} ms to answer`);
    if (number('maxmemory') > 0 && number('used_memory') >= number('maxmemory')) {
      const isRefusing = info.get('maxmemory_policy') === 'noeviction';
      worries.push(`it is out of memory: ${isRefusing ? 'logins are refused' : 'sessions may be evicted'}`);
    }
    if (number('connected_slaves') < this.#replicas) {
      worries.push(`it has ${number('connected_slaves')} replicas of the ${this.#replicas} that durability asks for`);
    }
    return worries;
  }
}

/** What went wrong, and why as far as that is known. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

/** `name:value` lines, as INFO gives them. */
function fieldsOf(info: string): Map<string, string> {
  const pairs = info.split('\r\n').map((line) => [line.split(':', 1)[0] ?? '', line] as const);
  return new Map(pairs.map(([name, line]) => [name, line.slice(name.length + 1)]));
}

import type { StoreHealth } from '../store/store';
import type { RedisConnection } from './connection';
import type { RedisKeys } from './schema';
import type { ServerKeys } from './server-keys';

/** Milliseconds for which a server that let us announce changes is not asked again whether it does. */
const TELLING_KNOWN_MS = 60_000;

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
  readonly #serverKeys: ServerKeys;
  /** When each server last let us announce changes, by `performance.now()`. */
  readonly #toldAt = new Map<string, number>();
  #underWay: Promise<StoreHealth> | null = null;

  /** @param replicas how many each master should have. */
  constructor(connection: RedisConnection, keys: RedisKeys, serverKeys: ServerKeys, replicas: number) {
    this.#connection = connection;
    this.#keys = keys;
    this.#serverKeys = serverKeys;
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
      const [info, worriesOfTelling] = await Promise.all([
        this.#connection.sendTo(server, (redis) => redis.info(), left),
        this.#worriesOfTelling(server, left),
        this.#serverKeys.writeNothing(server, left),
      ]);
      const latencyMs = Math.round((performance.now() - begin) * 10) / 10;
      const worries = [...this.#worriesOf(info, latencyMs), ...worriesOfTelling];
      return { latencyMs, isServing: true, reasons: worries.map((reason) => prefix + reason) };
    } catch (error) {
      return { latencyMs: null, isServing: false, reasons: [prefix + reasonOf(error)] };
    }
  }

  /** Scripts go on where they may not tell of a change; whoever relies on being told should know. */
  async #worriesOfTelling(server: string, timeoutMs: number): Promise<string[]> {
    if (performance.now() - (this.#toldAt.get(server) ?? Number.NEGATIVE_INFINITY) < TELLING_KNOWN_MS) return [];
    const tell = (channel: string) =>
      this.#connection.sendTo(server, (redis) => redis.publish(this.#connection.whole(channel), ''), timeoutMs);
    try {
      await Promise.all(this.#keys.channels.map(tell));
      this.#toldAt.set(server, performance.now());
      return [];
    } catch (error) {
      if (!(error instanceof Error && error.cause instanceof Error && /NOPERM/.test(error.cause.message))) return [];
      return [
        'it does not let changes be announced: near caches, here or elsewhere, keep ended sessions for their maxAgeMs',
      ];
    }
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

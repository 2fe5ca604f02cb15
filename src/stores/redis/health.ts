import type { StoreHealth } from '../../core/store';
import type { RedisConnection } from './connection';

/** Milliseconds for which a refused call shows: what made Redis refuse it is seldom over at once. */
const REFUSAL_SHOWS_MS = 10_000;

/** What one server says of itself. */
interface Look {
  latencyMs: number | null;
  isServing: boolean;
  reasons: string[];
}

/** Finds out how Redis is, by one INFO to each master: what it costs is about what ten checks cost. */
export class RedisHealth {
  readonly #connection: RedisConnection;
  readonly #replicas: number;
  #underWay: Promise<StoreHealth> | null = null;

  /** @param replicas how many each master should have. */
  constructor(connection: RedisConnection, replicas: number) {
    this.#connection = connection;
    this.#replicas = replicas;
  }

  look(): Promise<StoreHealth> {
    this.#underWay ??= this.#look().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }

  async #look(): Promise<StoreHealth> {
    const servers = this.#connection.servers();
    const isOne = servers.length <= 1;
    const looks = await Promise.all(
      (servers.length === 0 ? [''] : servers).map((server) => this.#lookAt(server, isOne ? '' : `${server}: `)),
    );
    const refusal = this.#connection.refusedWithin(REFUSAL_SHOWS_MS);
    const reasons = looks.flatMap((look) => look.reasons);
    if (refusal !== null && looks.some(({ isServing }) => isServing)) reasons.push(reasonOf(refusal));
    const latencies = looks.map(({ latencyMs }) => latencyMs).filter((ms) => ms !== null);
    return {
      status: reasons.length === 0 ? 'up' : looks.some(({ isServing }) => isServing) ? 'degraded' : 'down',
      latencyMs: latencies.length === 0 ? null : Math.max(...latencies),
      reasons: [...new Set(reasons)],
    };
  }

  async #lookAt(server: string, prefix: string): Promise<Look> {
    const begin = performance.now();
    try {
      const info = await this.#connection.sendTo(server, (redis) => redis.info());
      const latencyMs = Math.round((performance.now() - begin) * 10) / 10;
      const { isServing, reasons } = this.#judge(fieldsOf(info), latencyMs);
      return { latencyMs, isServing, reasons: reasons.map((reason) => prefix + reason) };
    } catch (error) {
      return { latencyMs: null, isServing: false, reasons: [prefix + reasonOf(error)] };
    }
  }

  #judge(info: ReadonlyMap<string, string>, latencyMs: number): { isServing: boolean; reasons: string[] } {
    const number = (name: string) => Number(info.get(name) ?? 0);
    if (info.get('role') === 'slave') return { isServing: false, reasons: ['it is a replica, and refuses to write'] };
    if (number('loading') !== 0) return { isServing: false, reasons: ['it is starting, and still reads its data'] };
    const reasons: string[] = [];
    if (latencyMs > this.#connection.timeoutMs / 2) reasons.push(`it took ${latencyMs} ms to answer`);
    if (number('maxmemory') > 0 && number('used_memory') >= number('maxmemory')) {
      reasons.push(
        info.get('maxmemory_policy') === 'noeviction'
          ? 'it is out of memory: logins are refused'
          : 'it is out of memory: sessions may be evicted',
      );
    }
    if (number('connected_slaves') < this.#replicas) {
      reasons.push(`it has ${number('connected_slaves')} replicas of the ${this.#replicas} that durability asks for`);
    }
    return { isServing: true, reasons };
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

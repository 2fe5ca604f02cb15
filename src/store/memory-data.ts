import { bytesIn } from './session-entries';
import type { DataChange, DataLimits, DataWritten, SessionEntries } from './store';

/** The data of one session in memory. Does what RedisStore's scripts do on one hash, in the same words. */
export class MemoryData {
  #entries: Map<string, string>;

  constructor(entries: Map<string, string>) {
    this.#entries = entries;
  }

  /** Those of the keys that exist; `null` for all. */
  read(keys: readonly string[] | null): SessionEntries {
    if (keys === null) return new Map(this.#entries);
    const found = keys.map((key) => [key, this.#entries.get(key)] as const);
    return new Map(found.filter((entry): entry is readonly [string, string] => entry[1] !== undefined));
  }

  write({ entries, condition }: DataChange, { maxBytes, maxKeys }: DataLimits): DataWritten | 'changed' {
    if (condition !== undefined && (this.#entries.get(condition.key) ?? null) !== condition.json) return 'changed';
    const next = new Map(this.#entries);
    let isGrowing = false;
    for (const [key, json] of entries) {
      if (json === null) next.delete(key);
      else {
        next.set(key, json);
        isGrowing = true;
      }
    }
    if (isGrowing && bytesIn(next) > maxBytes) return 'too-large';
    if (isGrowing && next.size > maxKeys) return 'too-many';
    this.#entries = next;
    return 'done';
  }

  take(key: string): string | null {
    const json = this.#entries.get(key) ?? null;
    this.#entries.delete(key);
    return json;
  }

  add(
    { key, by }: { key: string; by: number },
    limits: DataLimits,
  ): number | Exclude<DataWritten, 'done'> | 'no-number' | 'no-sum' {
    const before: unknown = JSON.parse(this.#entries.get(key) ?? '0');
    if (typeof before !== 'number') return 'no-number';
    const sum = before + by;
    if (!Number.isFinite(sum)) return 'no-sum';
    const written = this.write({ entries: new Map([[key, JSON.stringify(sum)]]) }, limits);
    return written === 'too-large' || written === 'too-many' ? written : sum;
  }

  clear(): 'done' {
    this.#entries.clear();
    return 'done';
  }
}

/*
 * The expected data of one session: JSON by key, as the store port promises.
 */
import type { DataChange, DataLimits } from 'tokensession';

export type Entries = ReadonlyMap<string, string>;

export class DataModel {
  #entries: Entries;

  constructor(entries: Entries = new Map()) {
    this.#entries = new Map(entries);
  }

  /** The JSON of a key, or `null` without one. */
  get(key: string): string | null {
    return this.#entries.get(key) ?? null;
  }

  /** The values of these keys, or of all for `null`. */
  read(keys: readonly string[] | null): [key: string, json: string][] {
    return [...this.#entries].filter(([key]) => keys === null || keys.includes(key));
  }

  /** A change that only deletes is within all limits. */
  write({ entries, condition }: DataChange, limits: DataLimits): 'done' | 'changed' | 'too-large' | 'too-many' {
    if (condition !== undefined && this.get(condition.key) !== condition.json) return 'changed';
    const after = new Map(this.#entries);
    for (const [key, json] of entries) {
      after.delete(key);
      if (json !== null) after.set(key, json);
    }
    const isSetting = [...entries.values()].some((json) => json !== null);
    const bytes = Buffer.byteLength([...after].flat().join(''));
    if (isSetting && bytes > limits.maxBytes) return 'too-large';
    if (isSetting && after.size > limits.maxKeys) return 'too-many';
    this.#entries = after;
    return 'done';
  }

  take(key: string): string | null {
    const json = this.get(key);
    this.#entries = new Map(this.read(null).filter(([other]) => other !== key));
    return json;
  }

  add({ key, by }: { key: string; by: number }, limits: DataLimits): number | string {
    const before: unknown = JSON.parse(this.get(key) ?? '0');
    if (typeof before !== 'number') return 'no-number';
    const sum = before + by;
    if (!Number.isFinite(sum)) return 'no-sum';
    const written = this.write({ entries: new Map([[key, JSON.stringify(sum)]]) }, limits);
    return written === 'done' ? sum : written;
  }

  clear(): 'done' {
    this.#entries = new Map();
    return 'done';
  }
}

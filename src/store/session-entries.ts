import type { DataChange, SessionEntries } from './store';

/** Changes of a session's data: the JSON of each new or changed key, and `null` for each deleted one. */
export type ChangedEntries = DataChange['entries'];

export function changesBetween(before: SessionEntries, after: SessionEntries): ChangedEntries {
  const changes = new Map<string, string | null>();
  for (const [key, json] of after) if (before.get(key) !== json) changes.set(key, json);
  for (const key of before.keys()) if (!after.has(key)) changes.set(key, null);
  return changes;
}

/** The bytes that `maxDataBytes` counts: the UTF-8 of each key with JSON, and of the JSON. */
export function bytesIn(entries: ChangedEntries): number {
  let bytes = 0;
  for (const [key, json] of entries) if (json !== null) bytes += Buffer.byteLength(key) + Buffer.byteLength(json);
  return bytes;
}

import type { SessionEntries } from '../store/store';

/** Changes of a session's data: the JSON of each new or changed key, and `null` for each deleted one. */
export type DataChanges = ReadonlyMap<string, string | null>;

export function changesBetween(before: SessionEntries, after: SessionEntries): DataChanges {
  const changes = new Map<string, string | null>();
  for (const [key, json] of after) if (before.get(key) !== json) changes.set(key, json);
  for (const key of before.keys()) if (!after.has(key)) changes.set(key, null);
  return changes;
}

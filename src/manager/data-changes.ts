import type { SessionEntries } from '../store/store';

/** The differences between two contents: the JSON of each new or changed key, and `null` for each deleted one. */
export function changesBetween(before: SessionEntries, after: SessionEntries): Map<string, string | null> {
  const changes = new Map<string, string | null>();
  for (const [key, json] of after) if (before.get(key) !== json) changes.set(key, json);
  for (const key of before.keys()) if (!after.has(key)) changes.set(key, null);
  return changes;
}

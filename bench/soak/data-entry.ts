import type { Sighting } from './sighting';

/** The expected data of a session. Only the process that started the session writes it, one call at a time. */
export interface DataEntry {
  /** Requested increments. */
  tried: number;
  /** Acknowledged increments: the value of the counter. */
  added: Sighting[];
  /** Each key that was set, with its acknowledgement; `null` where it may be missing. */
  set: Record<string, Sighting | null>;
  /** Acknowledged writes. */
  written: number;
  losses: DataLoss[];
}

/** Acknowledged writes that a read has missed. */
interface DataLoss {
  /** The missing ones are among these. */
  writes: Sighting[];
  missing: number;
  seenAt: number;
}

export const COUNTER = 'count';

export function newDataEntry(): DataEntry {
  return { tried: 0, added: [], set: {}, written: 0, losses: [] };
}

/** No two keys of any sessions have the same value. */
export function valueFor(device: string, key: string): string {
  return `${device} ${key}`;
}

/** Compares the read data with the acknowledged data. Returns what was never written. */
export function compareData(
  data: DataEntry,
  device: string,
  { [COUNTER]: count = 0, ...values }: Readonly<Record<string, unknown>>,
  seenAt: number,
): string[] {
  for (const [key, write] of Object.entries(data.set)) {
    if (write === null || key in values) continue;
    data.losses.push({ writes: [write], missing: 1, seenAt });
    data.set[key] = null;
  }
  const strange = Object.entries(values).filter(
    ([key, value]) => !(key in data.set) || value !== valueFor(device, key),
  );
  return [
    ...compareCounter(data, device, count, seenAt),
    ...strange.map((entry) => `${device} has ${entry.join(': ')}`),
  ];
}

/** {@link compareData}, for the counter alone. */
export function compareCounter(data: DataEntry, device: string, count: unknown, seenAt: number): string[] {
  if (typeof count !== 'number' || count > data.tried) return [`${device} has counted ${count} of ${data.tried}`];
  const missing = data.added.length - count;
  if (missing > 0) {
    data.losses.push({ writes: data.added, missing, seenAt });
    data.added = data.added.slice(0, count);
  }
  return [];
}

import { SessionError } from '../errors/session-error';
import type { DataChange, DataLimits, DataWritten, SessionEntries } from './store';

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

/** @throws SessionError `ERR_DATA_TOO_LARGE` for a write that alone exceeds a limit of session data. */
export function checkSize(entries: ChangedEntries, limits: DataLimits): void {
  if (bytesIn(entries) > limits.maxBytes) throw overLimit('too-large', limits);
  let keys = 0;
  for (const json of entries.values()) if (json !== null) keys++;
  if (keys > limits.maxKeys) throw overLimit('too-many', limits);
}

/** The error of a write that exceeds a limit of session data. */
export function overLimit(outcome: Exclude<DataWritten, 'done'>, { maxBytes, maxKeys }: DataLimits): SessionError {
  const limit = outcome === 'too-many' ? `${maxKeys} keys` : `${maxBytes} bytes`;
  const message = `the data of a session may have ${limit}, and this would be more: nothing was written`;
  return new SessionError('ERR_DATA_TOO_LARGE', message);
}

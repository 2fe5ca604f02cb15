import { SessionError } from '../errors/session-error';

/** Parses a value of a session's data. */
export function parseDataValue(json: string): unknown {
  return parseStored(json, "a value of this session's data is no JSON");
}

/**
 * Parses JSON that the store gave.
 *
 * @param message of the error for other text. It has no `cause`, because the error of `JSON.parse` quotes the text.
 */
export function parseStored(json: string, message: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new SessionError('ERR_STORE_CORRUPT', message);
  }
}

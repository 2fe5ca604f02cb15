import { SessionError } from '../errors/session-error';

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

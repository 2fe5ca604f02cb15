import { kindOf, shown } from '../../errors/arguments';
import type { Exchange } from '../exchange/exchange';

/**
 * `Bearer`, in any case, then space and the token (RFC 6750, 2.1; RFC 9110, 11.1). The check of the token refuses other
 * values.
 */
const BEARER = /^bearer(?: |$)/i;

/** The `tchar`s of RFC 9110, 5.6.2. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The header that may hold a token. */
export type HeaderOption = string | false;

/** @throws TypeError for a value that is neither `false` nor the name of a header. */
export function readHeader(option: string, value: unknown) {
  if (value === false) return null;
  const name = value ?? 'authorization';
  if (typeof name !== 'string') throw new TypeError(`${option} must be false or a header's name, got ${kindOf(name)}`);
  if (!HEADER_NAME.test(name)) throw new TypeError(`${option} must be a header's name, got ${shown(name)}`);
  const field = name.toLowerCase();
  const isBearer = field === 'authorization';
  return {
    /** The headers of a 401; `undefined` for a header that HTTP has no scheme for. */
    challenge: isBearer ? { 'WWW-Authenticate': 'Bearer' } : undefined,
    /** The value in the token's place; `undefined` without one, or when the header came twice. */
    read(request: Pick<Exchange, 'header' | 'isRepeated'>): string | undefined {
      const value = request.header(field);
      if (value === undefined || (isBearer && !BEARER.test(value)) || request.isRepeated(field)) return undefined;
      return isBearer ? value.slice(6).trim() : value;
    },
  };
}

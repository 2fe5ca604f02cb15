import { kindOf, shown } from '../../errors/arguments';

/** The kinds of data of an origin that browsers can delete. */
export type SiteData = 'cache' | 'cookies' | 'storage' | 'clientHints' | 'executionContexts' | '*';

const KINDS: Record<SiteData, true> = {
  cache: true,
  cookies: true,
  storage: true,
  clientHints: true,
  executionContexts: true,
  '*': true,
};

const ALL_BUT_COOKIES = Object.keys(KINDS)
  .filter((kind) => kind !== '*' && kind !== 'cookies')
  .map((kind) => `"${kind}"`);

const BY_DEFAULT: readonly SiteData[] = ['cache', 'cookies', 'storage'];

/**
 * The values of `Clear-Site-Data` (W3C Clear Site Data, 3.1); none for no such header.
 *
 * @throws TypeError for a value that is neither a boolean nor a list of kinds.
 */
export function readSiteData(name: string, option: unknown = false): readonly string[] {
  if (option === false) return [];
  const kinds: unknown = option === true ? BY_DEFAULT : option;
  if (!Array.isArray(kinds)) {
    throw new TypeError(`${name} must be true, false or an array of kinds, got ${kindOf(kinds)}`);
  }
  if (kinds.length === 0) throw new TypeError(`${name} must name at least one kind; false is for none`);
  for (const [index, kind] of kinds.entries()) {
    if (typeof kind === 'string' && Object.hasOwn(KINDS, kind)) continue;
    const known = Object.keys(KINDS).join(', ');
    throw new TypeError(`${name}[${index}] must be one of ${known}, got ${shown(kind)}`);
  }
  return [...new Set(kinds)].map((kind) => `"${kind}"`);
}

/** These values without those that include cookies. */
export function withoutCookies(values: readonly string[]): string[] {
  return values
    .flatMap((value) => (value === '"*"' ? ALL_BUT_COOKIES : [value]))
    .filter((value) => value !== '"cookies"');
}

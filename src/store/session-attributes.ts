import { checkLength, checkOptions, checkWellFormed } from '../errors/arguments';
import type { SessionAttributes } from './store';

export const MAX_ATTRIBUTE_LENGTH = 512;

const ATTRIBUTES: Record<keyof SessionAttributes, true> = { device: true, ip: true, userAgent: true };

export function checkAttributes(name: string, value: unknown): SessionAttributes {
  const given = checkOptions(name, value as SessionAttributes | undefined, ATTRIBUTES);
  const kept: SessionAttributes = {};
  for (const key of Object.keys(ATTRIBUTES) as (keyof SessionAttributes)[]) {
    const attribute: unknown = given[key];
    if (attribute === undefined) continue;
    kept[key] = checkLength(`${name}.${key}`, checkWellFormed(`${name}.${key}`, attribute), MAX_ATTRIBUTE_LENGTH);
  }
  return kept;
}

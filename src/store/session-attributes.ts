import { checkOptions, checkText, checkWellFormed } from '../errors/arguments';
import type { SessionAttributes } from './store';

export const MAX_ATTRIBUTE_LENGTH = 512;

const ATTRIBUTES: Record<keyof SessionAttributes, true> = { device: true, ip: true, userAgent: true };

export function checkAttributes(attributes: SessionAttributes | undefined): SessionAttributes {
  const given = checkOptions('attributes', attributes, ATTRIBUTES);
  const kept: SessionAttributes = {};
  for (const name of Object.keys(ATTRIBUTES) as (keyof SessionAttributes)[]) {
    const value: unknown = given[name];
    if (value === undefined) continue;
    kept[name] = checkLength(`attributes.${name}`, checkWellFormed(`attributes.${name}`, value));
  }
  return kept;
}

/** Checks the option `actor`: a text that is not empty. */
export function checkActor(name: string, value: unknown): string {
  return checkLength(name, checkText(name, value));
}

function checkLength(name: string, value: string): string {
  if (value.length <= MAX_ATTRIBUTE_LENGTH) return value;
  throw new RangeError(`${name} must have at most ${MAX_ATTRIBUTE_LENGTH} characters, got ${value.length}`);
}

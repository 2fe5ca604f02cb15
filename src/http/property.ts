import { kindOf, shown } from '../errors/arguments';
import type { Register } from '../manager/types';

/** The property that {@link Register} names for the request's session; `'session'` while it names none. */
export type RegisteredProperty = Register extends { property: infer Property extends string } ? Property : 'session';

/** @throws TypeError for what can't be a property of its own on a request. */
export function checkProperty(property: unknown): string {
  if (typeof property === 'string' && /^[A-Za-z_$][\w$]*$/.test(property) && !(property in {})) return property;
  const got = typeof property === 'string' ? shown(property) : kindOf(property);
  throw new TypeError(`option property must be the name of a property, such as "auth", got ${got}`);
}

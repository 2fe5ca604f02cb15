import { shown } from '../errors/arguments';
import type { Register } from '../manager/types';

/** The property that {@link Register} names for the request's session; `'session'` while it names none. */
export type RegisteredProperty = Register extends { property: infer Property extends string } ? Property : 'session';

/** The property that a guard's options name; {@link RegisteredProperty} when the options may name any. */
export type OneProperty<Property extends string> = string extends Property ? RegisteredProperty : Property;

/** @throws TypeError for what can't be a property of its own on a request. */
export function checkProperty(name: string, value: unknown): string {
  if (typeof value === 'string' && /^[A-Za-z_$][\w$]*$/.test(value) && !(value in {})) return value;
  throw new TypeError(`${name} must be the name of a property, such as "auth", got ${shown(value)}`);
}

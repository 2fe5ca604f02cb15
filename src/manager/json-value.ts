import { classNameOf, isPlainObject, kindOf } from '../errors/arguments';

/** Levels of objects and arrays. Deeper values are cycles of new objects, or not made by hand. */
const MAX_DEPTH = 100;

/**
 * The JSON of a value that survives the round trip. Anything else that JSON would change or omit is an error that
 * names its place. A property with `undefined` counts as left out, and -0 as 0.
 *
 * @param name the name of the value in an error.
 * @throws TypeError for `undefined`, NaN, an infinity, a BigInt, a symbol or a function; for a Date, a Map or an
 *   instance of any other class; for a hole in an array, a property of an array or one with a symbol for its key, a
 *   cycle, or more than 100 levels.
 */
export function jsonOf(name: string, value: unknown): string {
  checkJson(name, value, []);
  return JSON.stringify(value);
}

/** @param above the objects around the value. */
function checkJson(name: string, value: unknown, above: readonly object[]): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object') throw new TypeError(`${name} must be what JSON can hold, got ${kindOf(value)}`);
  if (above.includes(value)) throw new TypeError(`${name} must be what JSON can hold, got a cycle`);
  if (above.length === MAX_DEPTH) throw new TypeError(`${name} must not be nested deeper than ${MAX_DEPTH} levels`);
  const path = [...above, value];
  if ('toJSON' in value) throw new TypeError(`${name} must be what JSON can hold, got ${classOf(value)}`);
  const isArray = Array.isArray(value);
  const isMore = isArray && Object.keys(value).length > value.length;
  if (isMore || Object.getOwnPropertySymbols(value).length > 0) {
    const kind = isMore ? 'an array with a property' : 'a property with a symbol for its key';
    throw new TypeError(`${name} must be what JSON can hold, got ${kind}`);
  }
  // The prototype of arrays is a plain object; that of a class of arrays is not.
  if (!isPlainObject(isArray ? Object.getPrototypeOf(value) : value)) {
    throw new TypeError(`${name} must be what JSON can hold, got ${classOf(value)}`);
  }
  if (isArray) {
    // Not forEach, which skips holes.
    for (let index = 0; index < value.length; index++) checkJson(`${name}[${index}]`, value[index], path);
    return;
  }
  for (const [key, member] of Object.entries(value)) {
    if (member !== undefined) checkJson(`${name}.${key}`, member, path);
  }
}

function classOf(value: object): string {
  if (value instanceof Date) return 'a Date: keep its time, or its ISO string';
  return `an object of the class ${classNameOf(value)}`;
}

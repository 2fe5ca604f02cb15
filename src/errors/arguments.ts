/*
 * Checks of options and arguments, before anything is stored. Each names the mistake: a TypeError for a value of the
 * wrong kind, a RangeError for one out of range.
 */

/** A hundred years in seconds. A longer time is a mistake of units. */
export const MAX_SECONDS = 100 * 365 * 24 * 3600;

/** A shorter secret can be searched for with one token at hand (RFC 2104, 3: keys of at least the hash's length). */
export const MIN_SECRET_LENGTH = 32;

const MAX_USER_ID_BYTES = 1024;

/** The kind of a value, for an error message: never the value itself, which may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'object' && !isPlainObject(value)) return `an object of the class ${classNameOf(value)}`;
  return value === undefined ? 'undefined' : `a value of type ${typeof value}`;
}

export function classNameOf(value: object): string {
  // A class may have a static member of that name.
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== '' ? name : 'unknown';
}

/**
 * A value for an error message: a text quoted if it is as short as a name, any other value by its kind. Tokens and
 * secrets are longer, and URLs may hold passwords.
 */
export function shown(value: unknown): string {
  if (typeof value !== 'string') return kindOf(value);
  const isShort = value.length < MIN_SECRET_LENGTH && !value.includes('@');
  return isShort ? JSON.stringify(value) : `a text of ${value.length} characters`;
}

/** Reads one option or argument: gives the value to use, or throws an error that begins with the name. */
export type Reader<Value> = (name: string, value: unknown) => Value;

/** A reader for each option of an object: the compiler keeps the list complete. */
export type Readers<Options> = Readonly<{ [Name in keyof Required<Options>]: Reader<unknown> }>;

/** The values that the readers give. */
export type Read<All> = { [Name in keyof All]: All[Name] extends Reader<infer Value> ? Value : never };

/**
 * Reads an options object by a reader for each option, which gets `undefined` for an option left out.
 *
 * @param prefix the text before an option's name in an error.
 * @throws TypeError for anything but a plain object with these options; the errors of the readers.
 */
export function readOptions<All extends Readonly<Record<string, Reader<unknown>>>>(
  owner: string,
  options: object | undefined,
  readers: All,
  prefix = 'option ',
): Read<All> {
  const given = checkOptions(owner, options as Record<string, unknown> | undefined, readers);
  // Without a prototype: a setter or a read-only property of `Object.prototype` would keep a value out.
  const values: Record<string, unknown> = Object.create(null);
  for (const name of Object.keys(readers))
    values[name] = (readers[name] as Reader<unknown>)(prefix + name, given[name]);
  return values as Read<All>;
}

export function optional<Value, const Fallback>(read: Reader<Value>, fallback: Fallback): Reader<Value | Fallback> {
  return (name, value) => (value === undefined ? fallback : read(name, value));
}

export function integer(min: number, max: number): Reader<number> {
  return (name, value) => {
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number, got ${kindOf(value)}`);
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}, got ${value}`);
  };
}

/** A duration in whole seconds, at least 1. */
export const checkSeconds = integer(1, MAX_SECONDS);

/** A string as of {@link checkText}, with at most `max` characters. */
export function text(max: number): Reader<string> {
  return (name, value) => checkLength(name, checkText(name, value), max);
}

export function oneOf<const Word extends string>(...words: readonly Word[]): Reader<Word> {
  return (name, value) => {
    if (words.includes(value as Word)) return value as Word;
    const quoted = words.map((word) => `'${word}'`);
    throw new TypeError(
      `${name} must be ${quoted.slice(0, -1).join(', ')}${quoted.length > 1 ? ' or ' : ''}${quoted.at(-1)}`,
    );
  };
}

/**
 * Refuses anything but a plain object with these names. Gives its own members, so that nothing on `Object.prototype` is
 * an option. `undefined` stands for an empty object.
 */
export function checkOptions<Options extends object>(
  owner: string,
  options: Options | undefined,
  names: Readonly<Record<keyof Options, unknown>>,
): Partial<Options> {
  if (options !== undefined && !isPlainObject(options)) {
    throw new TypeError(`${owner}: the options must be a plain object, got ${kindOf(options)}`);
  }
  if (options === undefined) return NO_OPTIONS;
  const own: Partial<Options> = Object.assign(Object.create(null), options);
  for (const name of Object.keys(own)) {
    if (!Object.hasOwn(names, name)) {
      throw new TypeError(`${owner}: unknown option ${shown(name)}; known are ${Object.keys(names).join(', ')}`);
    }
  }
  return own;
}

/**
 * Checks the first argument of what returns a middleware: in `app.use(requireUser)` it is a request or a context.
 *
 * @throws TypeError when it is.
 */
export function checkCalled(name: string, given: unknown): void {
  const isRequest = 'headers' in Object(given) || 'req' in Object(given);
  if (!isRequest || isPlainObject(given)) return;
  throw new TypeError(`${name} was mounted without a call: mount what ${name}() returns`);
}

/** One for all: `requireUser(session)` reads its options in each request. */
const NO_OPTIONS = Object.freeze(Object.create(null));

/** Also an object of another realm, with another `Object.prototype`. */
export function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be true or false, got ${kindOf(value)}`);
  return value;
}

export function checkFunction<Function>(name: string, value: unknown): Function {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function, got ${kindOf(value)}`);
  return value as Function;
}

export function checkString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, got ${kindOf(value)}`);
  return value;
}

/** A string that is not empty and {@link checkWellFormed}. */
export function checkText(name: string, value: unknown): string {
  if (checkString(name, value) === '') throw new RangeError(`${name} must not be empty`);
  return checkWellFormed(name, value);
}

/** A string that survives UTF-8; a lone surrogate does not. */
export function checkWellFormed(name: string, value: unknown): string {
  const text = checkString(name, value);
  if (text.isWellFormed()) return text;
  throw new RangeError(`${name} must be well-formed Unicode: it holds a lone surrogate`);
}

export function checkLength(name: string, value: string, max: number): string {
  if (value.length <= max) return value;
  throw new RangeError(`${name} must have at most ${max} characters, got ${value.length}`);
}

/** Any text of 1 to 1,024 bytes of UTF-8. */
export function checkUserId(name: string, value: unknown): string {
  if (isNumericId(value)) throw new TypeError(`${name} must be a string, got a ${typeof value}: pass String(id)`);
  const text = checkText(name, value);
  if (text.length > MAX_USER_ID_BYTES || Buffer.byteLength(text) > MAX_USER_ID_BYTES) {
    throw new RangeError(`${name} must have at most ${MAX_USER_ID_BYTES} bytes of UTF-8`);
  }
  return text;
}

/** A user id that may also come as a number, as databases have them. */
export function readUserId(name: string, value: unknown): string {
  return checkUserId(name, isNumericId(value) ? String(value) : value);
}

/** NaN and the infinities are no ids, but mistakes. */
function isNumericId(value: unknown): boolean {
  return Number.isFinite(value) || typeof value === 'bigint';
}

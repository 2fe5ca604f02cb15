import { format, inspect, types } from 'node:util';

/** The place of a text, and the text. */
export type FoundText = readonly [path: string, text: string];

export interface WalkOptions {
  /** Names of members that are skipped, at any depth. */
  except?: readonly string[];
}

/**
 * Every text in a value, at any depth: strings, names of members, functions and symbols, and buffers. Includes hidden
 * and symbol members, results of getters, inherited members, maps, sets and the like.
 */
export function textsIn(value: unknown, options: WalkOptions = {}): FoundText[] {
  const found: FoundText[] = [];
  const seen = new Set<unknown>();
  const except = new Set<PropertyKey>(options.except);
  const waiting: [path: string, value: unknown][] = [['', value]];
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const [path, part] = next;
    if (typeof part === 'string') found.push([path, part]);
    else if (typeof part === 'symbol') found.push([path, part.description ?? '']);
    if (!isObject(part) || seen.has(part) || BUILT_IN.has(part)) continue;
    seen.add(part);
    for (const [name, member] of [...contentsOf(part), ...membersOf(part, except)]) {
      const text = typeof name === 'symbol' ? (name.description ?? '') : name;
      found.push([`${path} (a name)`, text]);
      waiting.push([`${path}.${text}`, member]);
    }
  }
  return found;
}

/** A value as logs may print it. */
export function printsOf(value: unknown): FoundText[] {
  const prints: [way: string, print: () => string | undefined][] = [
    ['inspected', () => inspect(value, { depth: Number.POSITIVE_INFINITY, showHidden: true, getters: true })],
    ['logged', () => format(value)],
    ['logged with %s, %o, %O and %j', () => format('%s %o %O %j', value, value, value, value)],
    ['listed by console.dir()', () => inspect(value, { customInspect: false })],
    ['as JSON', () => JSON.stringify(value)],
    ['as text', () => String(value)],
  ];
  return prints.map(([way, print]) => [way, printed(print)]);
}

/** A value that cannot be printed gives an error, which is printed, too. */
function printed(print: () => string | undefined): string {
  try {
    return print() ?? '';
  } catch (error) {
    return inspect(error);
  }
}

/** Objects of the language and of Node, which are shared. */
const BUILT_IN = new Set<unknown>([
  globalThis,
  process,
  Buffer,
  Buffer.prototype,
  // With `buffer`, the memory shared by small buffers.
  Object.getPrototypeOf(Uint8Array.prototype),
  ...Object.getOwnPropertyNames(globalThis).flatMap((name) => {
    const value: unknown = Object.getOwnPropertyDescriptor(globalThis, name)?.value;
    return typeof value === 'function' ? [value, value.prototype] : [];
  }),
]);

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

type Member = readonly [name: string | symbol, value: unknown];

/** Content that no member of an object shows. */
function contentsOf(value: object): Member[] {
  if (types.isAnyArrayBuffer(value)) return [['bytes', Buffer.from(value).toString('latin1')]];
  if (ArrayBuffer.isView(value)) {
    return [['bytes', Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1')]];
  }
  if (types.isBoxedPrimitive(value)) return [['value', value.valueOf()]];
  if (value instanceof WeakRef) return [['target', value.deref()]];
  if (value instanceof URL || value instanceof URLSearchParams || value instanceof RegExp)
    return [['text', `${value}`]];
  if (types.isMap(value) || types.isSet(value) || value instanceof Headers) {
    return [...value].map((entry, index) => [`entry ${index}`, entry]);
  }
  return [];
}

/** The object's own members, then those of its prototypes; for a getter also its result or error. */
function membersOf(value: object, except: ReadonlySet<PropertyKey>): Member[] {
  const members: Member[] = [];
  for (let owner: object | null = value; owner !== null; owner = Object.getPrototypeOf(owner)) {
    if (BUILT_IN.has(owner)) break;
    if (ArrayBuffer.isView(owner)) continue;
    for (const name of Reflect.ownKeys(owner)) {
      if (!except.has(name)) members.push([name, given(value, Object.getOwnPropertyDescriptor(owner, name))]);
    }
  }
  return members;
}

function given(value: object, member: PropertyDescriptor | undefined): unknown {
  try {
    return member?.get === undefined ? member?.value : member.get.call(value);
  } catch (error) {
    return error;
  }
}

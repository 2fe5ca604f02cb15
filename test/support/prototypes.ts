/** What every object has from others, and what nothing that came from outside may change. */
const PROTOTYPES = [
  Object,
  Array,
  Function,
  String,
  Number,
  Boolean,
  Symbol,
  Date,
  RegExp,
  Map,
  Set,
  Promise,
  Error,
  Buffer,
].map((type) => type.prototype as object);

/** All that is on the built-in prototypes. */
export function prototypeState(): unknown[] {
  return PROTOTYPES.map((prototype) => Object.getOwnPropertyDescriptors(prototype));
}

/** Throws when something has been put on a built-in prototype, or taken from it, since. */
export function checkPrototypes(before: unknown[]): void {
  for (const [index, prototype] of PROTOTYPES.entries()) {
    const known = before[index] as Record<PropertyKey, PropertyDescriptor>;
    const names = Reflect.ownKeys(prototype);
    const changed = names.filter((name) => {
      const now = Object.getOwnPropertyDescriptor(prototype, name);
      return now?.value !== known[name]?.value || now?.get !== known[name]?.get || now?.set !== known[name]?.set;
    });
    const missing = Reflect.ownKeys(known).filter((name) => !names.includes(name));
    if (changed.length + missing.length > 0) {
      throw new Error(
        `${prototype.constructor.name}.prototype has changed: ${[...changed, ...missing].map(String).join(', ')}`,
      );
    }
  }
}

/** The prototypes shared by all objects, which no external input may change. */
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

/** All members of the built-in prototypes. */
export function prototypeState(): unknown[] {
  return PROTOTYPES.map((prototype) => Object.getOwnPropertyDescriptors(prototype));
}

/** Throws if a member of a built-in prototype was added or removed since. */
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

class ReturnsHolder {
  constructor(holder: object) {
    // biome-ignore lint/correctness/noConstructorReturn: a subclass adds its private field to what this returns
    return holder;
  }
}

/** A field of objects that belong to others. */
export interface PrivateField<Value> {
  /** `undefined` without a value, and for what is no object. */
  get(holder: unknown): Value | undefined;
  /** Call it once for each holder. */
  add(holder: object, value: Value): void;
}

/**
 * A WeakMap without its cost: in Node 20, an entry for a short-lived request takes more CPU than the rest of a cached
 * session. A property would be shown, copied and inherited. A copy of a request with other headers must not get the
 * session of the original.
 */
export function privateField<Value>(): PrivateField<Value> {
  /** For objects that take no property: a coming ECMAScript adds no private field to them either. */
  const ofFixed = new WeakMap<object, Value>();
  return class Holder extends ReturnsHolder {
    readonly #value: Value;

    private constructor(holder: object, value: Value) {
      super(holder);
      this.#value = value;
    }

    static get(holder: unknown): Value | undefined {
      if (Object(holder) !== holder) return undefined;
      const object = holder as object;
      if (#value in object) return (object as Holder).#value;
      return Object.isExtensible(object) ? undefined : ofFixed.get(object);
    }

    static add(holder: object, value: Value): void {
      if (Object.isExtensible(holder)) new Holder(holder, value);
      else ofFixed.set(holder, value);
    }
  };
}

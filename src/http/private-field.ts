class Given {
  constructor(holder: object) {
    // biome-ignore lint/correctness/noConstructorReturn: a subclass adds its private field to what this returns
    return holder;
  }
}

/** A field of objects that belong to others. */
export interface PrivateField<Value> {
  /** `undefined` without a value. */
  get(holder: object): Value | undefined;
  /** Call it once for each holder. */
  add(holder: object, value: Value): void;
}

/**
 * Behaves as a WeakMap, which would cost more than all the rest of a cached session (`npm run bench -- node`). Unlike a
 * property, it also fits frozen objects, and isn't shown, copied or inherited: a copy of a request with other headers
 * must not get the session of the original.
 */
export function privateField<Value>(): PrivateField<Value> {
  return class Holder extends Given {
    readonly #value: Value;

    private constructor(holder: object, value: Value) {
      super(holder);
      this.#value = value;
    }

    static get(holder: object): Value | undefined {
      return #value in holder ? (holder as Holder).#value : undefined;
    }

    static add(holder: object, value: Value): void {
      new Holder(holder, value);
    }
  };
}

/**
 * JSON that is parsed once, at the first use of its value. The value is frozen at every level, so that all callers can
 * share it.
 */
export class SharedJson {
  /** The text; `null` once it is parsed. */
  #text: string | null;
  #value: unknown;

  constructor(text: string) {
    this.#text = text;
  }

  /** The value; `undefined` for a text that is no JSON. */
  get value(): unknown {
    if (this.#text !== null) {
      this.#value = parse(this.#text);
      this.#text = null;
    }
    return this.#value;
  }
}

function parse(text: string): unknown {
  try {
    return frozen(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Without recursion, because `JSON.parse` accepts deeper nesting than calls can have. */
function frozen(value: unknown): unknown {
  const left = [value];
  for (const one of left) {
    if (typeof one !== 'object' || one === null) continue;
    for (const member of Object.values(Object.freeze(one))) {
      if (typeof member === 'object') left.push(member);
    }
  }
  return value;
}

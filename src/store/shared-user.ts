import { loadVersionOf, type StoredSession } from './store';

/** A user for applications. Frozen, because requests share it. */
interface FrozenUser<Detail> {
  readonly id: string;
  readonly detail?: Detail;
}

/** @param detail frozen already; `undefined` for none. */
export function userOf<Detail>(id: string, detail?: Detail): FrozenUser<Detail> {
  return Object.freeze(detail === undefined ? { id } : { id, detail });
}

/** A user with the cached info of one answer of the store, for all who share the answer. */
export class SharedUser {
  readonly id: string;
  /** The version of the info. */
  readonly version: number;
  /** The version of a load that begins at that answer. */
  readonly loadVersion: number;
  /** The info as JSON; `null` for none, and once it is parsed. */
  #info: string | null;
  #value: FrozenUser<unknown> | null = null;

  constructor(id: string, answer: Pick<StoredSession, 'userInfo' | 'userInfoVersion' | 'now'>) {
    this.id = id;
    this.version = answer.userInfoVersion;
    this.loadVersion = loadVersionOf(answer);
    this.#info = answer.userInfo;
  }

  /** Frozen at every level. Without `detail` when there is no info, or when it is no JSON. */
  get value(): FrozenUser<unknown> {
    if (this.#value === null) {
      this.#value = userOf(this.id, this.#info === null ? undefined : (parseFrozen(this.#info) ?? undefined));
      this.#info = null;
    }
    return this.#value;
  }
}

/** The value of a JSON text, frozen at every level; `undefined` for a text that is no JSON. */
export function parseFrozen(text: string): unknown {
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

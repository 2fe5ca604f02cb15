import { randomBytes } from 'node:crypto';
import type { ScriptCommands } from './script-commands';

/**
 * Keys that are tried. Where one of two servers holds a tenth of all keys, the other holds all these in 1 of 850 looks.
 */
const MARKS = 64;

/** Milliseconds for which a look is believed. */
const BELIEVED_MS = 60_000;

/**
 * Whether one server holds all keys. The client can't know that by itself: behind an address, a proxy may share keys
 * out to several servers, and send a script to the server of its first key. So a script marks keys of no user, and each
 * key is then asked for its mark alone.
 */
export class OneServer {
  readonly #scripts: Pick<ScriptCommands, 'mark' | 'takeMark'>;
  readonly #keyOf: (tag: string) => string;
  #holdsAllKeys = false;
  /** Set once a mark was missing, and when the store is closed: there are no further looks. */
  #isSettled = false;
  #lookAt = 0;
  /** Counts the times that another server may have taken over. */
  #epoch = 0;

  constructor(scripts: Pick<ScriptCommands, 'mark' | 'takeMark'>, keyOf: (tag: string) => string) {
    this.#scripts = scripts;
    this.#keyOf = keyOf;
  }

  /** `false` also while that is not known; then a look begins. */
  holdsAllKeys(): boolean {
    if (!this.#isSettled && performance.now() >= this.#lookAt) void this.#look();
    return this.#holdsAllKeys;
  }

  /** Forgets the last look, and gives up one that is being made: another server may answer from now on. */
  forget(): void {
    this.#epoch++;
    this.#holdsAllKeys = false;
    this.#lookAt = 0;
  }

  close(): void {
    this.forget();
    this.#isSettled = true;
  }

  async #look(): Promise<void> {
    this.#holdsAllKeys = false;
    this.#lookAt = performance.now() + BELIEVED_MS;
    const epoch = ++this.#epoch;
    const keys = Array.from({ length: MARKS }, () => this.#keyOf(randomBytes(16).toString('base64url')));
    try {
      const marked = await this.#scripts.mark(keys.length, ...keys);
      if (epoch !== this.#epoch) return;
      const marks = await Promise.all(keys.map(async (key) => this.#scripts.takeMark(1, key)));
      if (epoch !== this.#epoch) return;
      this.#holdsAllKeys = marks.every((mark) => mark === marked);
      this.#isSettled = !this.#holdsAllKeys;
    } catch {
      // It takes no keys of several users in a script, or is not well. The next look will show.
    }
  }
}

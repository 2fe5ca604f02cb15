import { randomBytes } from 'node:crypto';
import type { ScriptCommands } from './script-commands';

/** Keys that are tried. Of two servers that share keys out evenly, one holds them all once in 2^63 times. */
const MARKS = 64;

/** Milliseconds until the next look. */
const LOOK_EVERY_MS = 60_000;

/**
 * Whether one server holds all keys. The client can't know that by itself: behind an address, a proxy may share keys out
 * to several servers, and send a script to the server of its first key. So a script marks keys of no user, and each key
 * is then asked for its mark alone.
 */
export class OneServer {
  readonly #scripts: Pick<ScriptCommands, 'mark' | 'takeMark'>;
  readonly #keyOf: (tag: string) => string;
  #isOne = false;
  #lookAt = 0;
  /** Counts the times that another server may have taken over. */
  #epoch = 0;

  constructor(scripts: Pick<ScriptCommands, 'mark' | 'takeMark'>, keyOf: (tag: string) => string) {
    this.#scripts = scripts;
    this.#keyOf = keyOf;
  }

  /** Whether that was so at the last look. Looks again when that is long ago. */
  isKnown(): boolean {
    if (performance.now() >= this.#lookAt) void this.#look();
    return this.#isOne;
  }

  /** Forgets the last look, and gives up one that is being made: another server may answer from now on. */
  forget(): void {
    this.#epoch++;
    this.#isOne = false;
    this.#lookAt = 0;
  }

  /** Gives up for good. */
  close(): void {
    this.forget();
    this.#lookAt = Number.POSITIVE_INFINITY;
  }

  async #look(): Promise<void> {
    this.#lookAt = performance.now() + LOOK_EVERY_MS;
    const epoch = this.#epoch;
    const keys = Array.from({ length: MARKS }, () => this.#keyOf(randomBytes(16).toString('base64url')));
    try {
      await this.#scripts.mark(keys.length, ...keys);
      if (epoch !== this.#epoch) return;
      const marks = await Promise.all(keys.map((key) => this.#scripts.takeMark(1, key)));
      if (epoch === this.#epoch) this.#isOne = marks.every((mark) => mark !== null);
    } catch {
      // It takes no keys of several users in a script, or is not well.
      if (epoch === this.#epoch) this.#isOne = false;
    }
  }
}

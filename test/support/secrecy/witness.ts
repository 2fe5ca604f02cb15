import { inspect } from 'node:util';
import { SessionError, type TokenManager } from 'tokensession';
import { EVENT_NAMES } from '../../../src/manager/session-events';
import { type FoundText, printsOf, textsIn, type WalkOptions } from '../texts-in';

/** What a program has seen, for another process to search. */
export interface Testimony {
  tokens: string[];
  seen: FoundText[];
  /** How often each thing happened: `event login`, `error ERR_STORE_TIMEOUT`, `status 503`. */
  tally: Record<string, number>;
}

/** Records all texts that an application could print or log, and the issued tokens. */
export class Witness {
  readonly #tokens = new Set<string>();
  /** Where each text was first seen. */
  readonly #texts = new Map<string, string>();
  readonly #tally: Record<string, number> = {};

  get testimony(): Testimony {
    const seen = [...this.#texts].map(([text, path]): FoundText => [path, text]);
    return { tokens: [...this.#tokens], seen, tally: this.#tally };
  }

  count(what: string): void {
    this.#tally[what] = (this.#tally[what] ?? 0) + 1;
  }

  text(path: string, text: string): void {
    if (!this.#texts.has(text)) this.#texts.set(text, path);
  }

  /** Records all texts in a value, and in each way to print it. */
  value(path: string, value: unknown, options: WalkOptions = {}): void {
    for (const [part, text] of [...textsIn(value, options), ...printsOf(value)]) this.text(`${path} ${part}`, text);
  }

  error(path: string, error: unknown): void {
    this.count(`error ${error instanceof SessionError ? error.code : error instanceof Error ? error.name : 'none'}`);
    // Most requests of an outage end with the same error.
    const whole = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true, customInspect: false });
    if (!this.#texts.has(whole)) this.value(path, error);
    this.text(path, whole);
  }

  /** Waits for a call, and records its error, if any. */
  async failure(path: string, call: () => unknown): Promise<void> {
    try {
      await call();
    } catch (error) {
      this.error(path, error);
    }
  }

  issued(token: string): void {
    this.#tokens.add(token);
  }

  /** Keeps every event. */
  watch(path: string, manager: TokenManager<never>): void {
    for (const name of EVENT_NAMES) {
      manager.on(name, (event) => {
        this.count(`event ${name}`);
        this.value(`${path}: event ${name}`, event);
      });
    }
  }
}

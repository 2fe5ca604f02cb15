import { isBrokenConnection, isConnectionLoss, isError, withoutArguments } from '../client/errors';

/**
 * Milliseconds for which an error may be why a connection fails now: while calls ask for a node, it is tried more
 * often.
 */
const FRESH_MS = 10_000;

/**
 * Remembers why connections to the nodes of a Cluster failed. ioredis reports that as an event, and rejects what waited
 * for the connection with "Connection is closed."
 */
export class NodeErrors {
  /** By the node's address; of each the last that says why. */
  readonly #errors = new Map<string, { error: Error; at: number }>();

  record(address: string, error: unknown): void {
    if (!isError(error) || isConnectionLoss(error)) return;
    if (isBrokenConnection(error) && this.of(address) !== undefined) return;
    this.#errors.set(address, { error: withoutArguments(error) as Error, at: performance.now() });
  }

  clear(): void {
    this.#errors.clear();
  }

  of(address: string): Error | undefined {
    const { error, at } = this.#errors.get(address) ?? {};
    return at !== undefined && performance.now() - at < FRESH_MS ? error : undefined;
  }

  /** What all nodes failed with, as one error. */
  get all(): Error | undefined {
    const texts = [...this.#errors.keys()].flatMap((address) => {
      const error = this.of(address);
      return error === undefined ? [] : `${address}: ${error.message}`;
    });
    return texts.length === 0 ? undefined : new Error(texts.join('; '));
  }
}

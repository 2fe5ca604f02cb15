import { isBrokenConnection, isConnectionLoss, isError, withoutArguments } from '../client/errors';

/**
 * Milliseconds for which an error may explain a failing connection. While calls ask for a node, it is tried more often.
 */
const FRESH_MS = 10_000;

/**
 * Remembers why connections to the nodes of a Cluster failed. ioredis emits the reason as an event, and rejects waiting
 * calls with "Connection is closed."
 */
export class NodeErrors {
  /** The last error with a reason, by the node's address. */
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

  get all(): Error | undefined {
    const texts = [...this.#errors.keys()].flatMap((address) => {
      const error = this.of(address);
      return error === undefined ? [] : `${address}: ${error.message}`;
    });
    return texts.length === 0 ? undefined : new Error(texts.join('; '));
  }
}

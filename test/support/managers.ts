import { MemoryStore, TokenManager, type TokenManagerOptions } from 'tokensession';
import type { closeAfterEach } from './closing';
import { SECRET } from './stores';

/** Makes managers that close after the test. By default on a memory store, with the secret of tests. */
export function managerMaker(onClose: ReturnType<typeof closeAfterEach>) {
  return (options: Partial<TokenManagerOptions<unknown>> = {}): TokenManager => {
    const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET, ...options });
    onClose(() => manager.close());
    return manager;
  };
}

import type { Redis } from 'ioredis';

interface Connector {
  stream?: { closed: boolean } | null;
  disconnect(): void;
}

/**
 * Lets a process end when a client gives up a connection that has broken already. ioredis waits for the end of its stream, which has come and
 * gone, until a timer ends that holds the process.
 */
export function endPromptly<Client extends Redis>(redis: Client): Client {
  const { connector } = redis as unknown as { connector: Connector };
  const disconnect = connector.disconnect.bind(connector);
  connector.disconnect = () => {
    if (connector.stream?.closed) connector.stream = null;
    disconnect();
  };
  return redis;
}

/** The same for a connection to a node of a Cluster, and for those on which ioredis asks it for the slots. */
export function endNodePromptly(node: Redis): void {
  endPromptly(node);
  const duplicate = node.duplicate.bind(node);
  node.duplicate = (override) => endPromptly(duplicate(override));
}

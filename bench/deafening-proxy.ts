import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A proxy to Redis that can block announcements to subscriptions, while commands and replies pass. */
export interface DeafeningProxy {
  readonly url: string;
  /** From now on drops what Redis sends to subscribed connections. They stay open. */
  deafen(): void;
  /** Ends that, and closes the connections that have lost bytes. */
  restore(): void;
  stop(): Promise<void>;
}

export async function startDeafeningProxy(redisPort: number): Promise<DeafeningProxy> {
  let isDeaf = false;
  const clients = new Set<Socket>();
  const deafened = new Set<Socket>();

  const listener = createServer((client) => {
    const redis = connect({ port: redisPort, host: '127.0.0.1' });
    let isSubscriber = false;
    clients.add(client);
    client.on('data', (chunk) => {
      isSubscriber ||= /\bS?SUBSCRIBE\b/i.test(chunk.toString('latin1'));
      redis.write(chunk);
    });
    redis.on('data', (chunk) => {
      if (isDeaf && isSubscriber) deafened.add(client);
      else client.write(chunk);
    });
    for (const [socket, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        other.destroy();
        clients.delete(client);
        deafened.delete(client);
      });
    }
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');

  return {
    url: `redis://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    deafen() {
      isDeaf = true;
    },
    restore() {
      isDeaf = false;
      for (const client of deafened) client.destroy();
    },
    async stop() {
      for (const client of clients) client.destroy();
      listener.close();
      await once(listener, 'close');
    },
  };
}

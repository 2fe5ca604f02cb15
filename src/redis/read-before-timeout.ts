import type { Redis } from 'ioredis';

/** How ioredis says that its `socketTimeout` is over. */
const TIMEOUT = /^Socket timeout\b/;

/**
 * Has a client read what has arrived before its `socketTimeout` gives the connection up. Node runs timers before it reads sockets: after
 * the event loop was blocked, the answer may lie in a socket whose time is over.
 */
export function readBeforeTimeout(redis: Redis): Redis {
  return redis.on('connect', () => {
    const { stream } = redis;
    const destroy = stream.destroy.bind(stream);
    stream.destroy = (error?: Error) => {
      if (error === undefined || !TIMEOUT.test(error.message)) return destroy(error);
      const { bytesRead } = stream;
      setImmediate(() => {
        if (stream.bytesRead === bytesRead) destroy(error);
      });
      return stream;
    };
  });
}

import type { Redis } from 'ioredis';

/** What Redis says before it closes a connection that it won't serve: it has too many clients, or is in protected mode. */
const TURNED_AWAY = /^-((?:ERR max number of clients|DENIED)[^\r\n]*)/;

/** As Redis itself refuses commands while it reads its data. */
const LOADING = 'LOADING Redis is loading the dataset in memory';

/**
 * Breaks each connection of this client that Redis turns away, with Redis's words as the error. ioredis takes them for the answer to a command of its
 * handshake, and may drop them.
 */
export function breakWhenTurnedAway(redis: Redis): void {
  redis.on('connect', () => {
    const { stream } = redis;
    stream.prependOnceListener('data', (chunk: Buffer) => {
      const [, words] = TURNED_AWAY.exec(chunk.toString('latin1')) ?? [];
      if (words !== undefined) stream.destroy(new Error(words));
    });
  });
}

/**
 * Breaks each connection of this client to a server that still reads its data. The client reports that and tries again, where ioredis would wait
 * for as long as the server believes to need, and let commands wait.
 */
export function breakWhileLoading(redis: Redis): void {
  redis.on('connect', () => {
    const { stream } = redis;
    const look = (info: string) => {
      if (/^loading:1/m.test(info)) stream.destroy(new Error(LOADING));
    };
    // A server that refuses INFO refuses other commands with LOADING. Asked once it has answered: see breakWhenTurnedAway.
    stream.once('data', () => redis.info('persistence').then(look, () => undefined));
  });
}

import type { Socket } from 'node:net';
import type { Redis } from 'ioredis';

/** The used part of ioredis's connectors. */
interface Connector {
  stream?: { closed: boolean } | null;
  connect(...args: unknown[]): Promise<Socket>;
  disconnect(): void;
}

/** ioredis's words for an expired `socketTimeout`. */
const TIMEOUT = /^Socket timeout\b/;

/**
 * Redis's words before it closes a connection that it won't serve: it has too many clients, or is in protected mode.
 */
const TURNED_AWAY = /^-((?:ERR max number of clients|DENIED)[^\r\n]*)/;

/** Redis's own refusal of commands while it reads its data. */
const LOADING = 'LOADING Redis is loading the dataset in memory';

/** A timer that fires so many milliseconds late shows that this process was held up. */
export const HELD_UP_MS = 50;

const mended = new WeakSet<Redis>();

/**
 * Corrects six faults of ioredis (5 and 6) in a client of one server, which must not have connected yet: see the
 * functions that it calls.
 */
export function mendConnection<Client extends Redis>(redis: Client): Client {
  if (mended.has(redis)) return redis;
  mended.add(redis);
  const { connector } = redis as unknown as { connector: Connector };
  endPromptly(connector);
  const connect = connector.connect.bind(connector);
  connector.connect = async (...args) => {
    const stream = await connect(...args);
    listenToAllErrors(stream);
    allowForHeldUpProcess(stream);
    return stream;
  };
  redis.on('connect', () => {
    readBeforeTimeout(redis);
    breakWhenTurnedAway(redis);
    endSocketTimeout(redis);
  });
  return redis;
}

/**
 * Lets a process end when a client gives up a broken connection. ioredis waits for the end of the stream, which has
 * already come, until a timer expires that holds the process.
 */
function endPromptly(connector: Connector): void {
  const disconnect = connector.disconnect.bind(connector);
  connector.disconnect = () => {
    if (connector.stream?.closed) connector.stream = null;
    disconnect();
  };
}

/**
 * Listens to all errors of each connection. ioredis listens to the first only, and a second one would end the process:
 * after a refused certificate, the server's alert may follow.
 */
function listenToAllErrors(stream: Socket): void {
  stream.on('error', () => undefined);
}

/**
 * Gives an attempt to connect its time again when this process was held up in it. Node runs timers before it notices
 * connections: after a blocked event loop, ioredis's `connectTimeout` gives up a connection that is there.
 */
function allowForHeldUpProcess(stream: Socket): void {
  const setTimeout = stream.setTimeout.bind(stream);
  stream.setTimeout = (ms, onTimeout) => {
    if (onTimeout === undefined) return setTimeout(ms);
    const due = performance.now() + ms;
    let isHeldUp = false;
    // The timer of the socket begins again at each step of the attempt, so it may be late without a held-up process.
    globalThis
      .setTimeout(() => {
        isHeldUp = performance.now() - due >= HELD_UP_MS;
      }, ms)
      .unref();
    return setTimeout(ms, () => {
      if (isHeldUp) setTimeout(ms, onTimeout);
      // Node notices a connection that is there before it runs this.
      else setImmediate(onTimeout);
    });
  };
}

/**
 * Reads answers that have arrived before ioredis's `socketTimeout` gives the connection up. Node runs timers before it
 * reads sockets: after a blocked event loop, an answer may wait in a socket whose time is over.
 */
function readBeforeTimeout({ stream }: Redis): void {
  const destroy = stream.destroy.bind(stream);
  stream.destroy = (error?: Error) => {
    if (error === undefined || !TIMEOUT.test(error.message)) return destroy(error);
    const { bytesRead } = stream;
    setImmediate(() => {
      if (stream.bytesRead === bytesRead) destroy(error);
    });
    return stream;
  };
}

/**
 * Stops the timer of `socketTimeout` with its connection. In ioredis 5 it runs on, holds the process, and gives up the
 * next connection.
 */
function endSocketTimeout(redis: Redis): void {
  const own = redis as unknown as { socketTimeoutTimer: NodeJS.Timeout | undefined };
  redis.stream.once('close', () => {
    clearTimeout(own.socketTimeoutTimer);
    own.socketTimeoutTimer = undefined;
  });
}

/**
 * Breaks a connection that Redis refuses, with Redis's words as the error. ioredis reads them as the answer to a
 * command of its handshake, and may drop them.
 */
function breakWhenTurnedAway({ stream }: Redis): void {
  stream.prependOnceListener('data', (chunk: Buffer) => {
    const [, words] = TURNED_AWAY.exec(chunk.toString('latin1')) ?? [];
    if (words !== undefined) stream.destroy(new Error(words));
  });
}

/**
 * Breaks each connection to a server that still reads its data. The client reports that and tries again. ioredis would
 * wait for as long as the server estimates, and queue commands.
 */
export function breakWhileLoading(redis: Redis): void {
  redis.on('connect', () => {
    const { stream } = redis;
    const look = (info: string) => {
      if (/^loading:1/m.test(info)) stream.destroy(new Error(LOADING));
    };
    // Only after some answer, because the server may have refused the connection. A server that refuses INFO refuses
    // other commands with LOADING.
    stream.once('data', () => redis.info('persistence').then(look, () => undefined));
  });
}

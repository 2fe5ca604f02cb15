import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

const CONNECTIONS = 16;
const TURNS_AT_A_TIME = 3;

/** The bytes of calls that were made at once. */
export interface Turn {
  bytes: Buffer;
  calls: number;
  commands: number;
}

/**
 * Records the bytes that the first `calls` calls send to Redis, `atOnce` of them in flight.
 *
 * @param make returns the call, made by a client of this URL.
 */
export async function record(
  redisUrl: string,
  make: (url: string) => Promise<(index: number) => Promise<unknown>>,
  calls: number,
  atOnce: number,
): Promise<Turn[]> {
  let recorded: Buffer[] = [];
  const { port, hostname } = new URL(redisUrl);
  const relay = createServer((client) => {
    const redis = connect({ port: Number(port), host: hostname, noDelay: true });
    client.setNoDelay(true).on('data', (chunk) => {
      recorded.push(chunk);
      redis.write(chunk);
    });
    redis.pipe(client);
    for (const socket of [client, redis]) socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const call = await make(`redis://127.0.0.1:${(relay.address() as AddressInfo).port}`);
  const makeTurn = (first: number) =>
    Promise.all(Array.from({ length: Math.min(atOnce, calls - first) }, (_, i) => call(first + i)));
  // What a connection sends at first, such as a script itself, is not a part of each call.
  for (let first = 0; first < calls; first += atOnce) await makeTurn(first);
  const turns: Turn[] = [];
  for (let first = 0; first < calls; first += atOnce) {
    recorded = [];
    const { length } = await makeTurn(first);
    const bytes = Buffer.concat(recorded);
    // A command is an array of bulk strings, as a reply may be.
    turns.push({ bytes, calls: length, commands: new ReplyCounter().count(bytes) });
  }
  relay.close();
  return turns;
}

/**
 * Sends the recorded bytes repeatedly, many at a time on several connections, so that Redis is always busy. Fails on an
 * error reply.
 *
 * @returns the number of calls, and the time.
 */
export async function replay(
  redisUrl: string,
  turns: readonly Turn[],
  durationMs: number,
): Promise<{ calls: number; seconds: number }> {
  const { port, hostname } = new URL(redisUrl);
  const batches: Turn[] = [];
  for (let first = 0; first < turns.length; first += TURNS_AT_A_TIME) {
    const some = turns.slice(first, first + TURNS_AT_A_TIME);
    batches.push({
      bytes: Buffer.concat(some.map(({ bytes }) => bytes)),
      calls: some.reduce((sum, { calls }) => sum + calls, 0),
      commands: some.reduce((sum, { commands }) => sum + commands, 0),
    });
  }
  const sockets = Array.from({ length: CONNECTIONS }, () =>
    connect({ port: Number(port), host: hostname, noDelay: true }),
  );
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const began = performance.now();
  const done = await Promise.all(
    sockets.map((socket, index) => sendAll(socket, batches, index * 3, began + durationMs)),
  );
  const seconds = (performance.now() - began) / 1000;
  for (const socket of sockets) socket.destroy();
  return { calls: done.reduce((sum, calls) => sum + calls, 0), seconds };
}

/** Sends one batch after the other until the time is up. Resolves to the number of calls. */
function sendAll(socket: Socket, batches: readonly Turn[], first: number, until: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const counter = new ReplyCounter();
    let next = first;
    let sent = 0;
    let due = 0;
    const sendNext = () => {
      const batch = batches[next++ % batches.length] as Turn;
      sent += batch.calls;
      due += batch.commands;
      socket.write(batch.bytes);
    };
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      try {
        due -= counter.count(chunk);
      } catch (error) {
        reject(error);
      }
      if (due > 0) return;
      if (performance.now() < until) sendNext();
      else resolve(sent);
    });
    sendNext();
  });
}

const ERROR = 0x2d;
const ARRAY = 0x2a;
const BULK = 0x24;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const LINE_FEED = 0x0a;

/** Counts complete values of RESP 2 in a stream. It parses no content, and so is faster than Redis. */
class ReplyCounter {
  /** The number of missing elements of each incomplete array. */
  readonly #lacking: number[] = [];
  /** The first byte of an incomplete line; `null` before a line. */
  #type: number | null = null;
  /** The number in it so far: the length of an array or a bulk string. */
  #length = 0;
  #isNil = false;
  /** Missing bytes of a bulk string. */
  #skipping = 0;

  /** Returns how many values end in this chunk. */
  count(chunk: Buffer): number {
    let values = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#skipping > 0) {
        const skipped = Math.min(this.#skipping, chunk.length - at);
        this.#skipping -= skipped;
        at += skipped;
        if (this.#skipping === 0 && this.#endsValue()) values++;
        continue;
      }
      const byte = chunk[at++] as number;
      if (this.#type === null) {
        if (byte === ERROR) throw new Error(`Redis answered ${chunk.toString('latin1', at - 1, at + 100)}`);
        this.#type = byte;
        this.#length = 0;
        this.#isNil = false;
      } else if (byte === LINE_FEED) {
        if (this.#isValue() && this.#endsValue()) values++;
        this.#type = null;
      } else if (byte >= ZERO && byte <= NINE) {
        this.#length = 10 * this.#length + byte - ZERO;
      } else if (byte === MINUS) this.#isNil = true;
    }
    return values;
  }

  /** Whether the line that has ended is a complete value, and not the start of one. */
  #isValue(): boolean {
    if (this.#isNil) return true;
    if (this.#type === BULK) this.#skipping = this.#length + 2;
    if (this.#type === ARRAY && this.#length > 0) this.#lacking.push(this.#length);
    return this.#type !== BULK && (this.#type !== ARRAY || this.#length === 0);
  }

  /** Whether the value that has ended is not an element of an incomplete array. */
  #endsValue(): boolean {
    while (this.#lacking.length > 0) {
      const last = this.#lacking.length - 1;
      const lacking = (this.#lacking[last] as number) - 1;
      if (lacking > 0) {
        this.#lacking[last] = lacking;
        return false;
      }
      this.#lacking.pop();
    }
    return true;
  }
}

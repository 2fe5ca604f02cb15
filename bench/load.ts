import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** One user of a server: the request, and the body of the expected response. */
interface Visitor {
  cookie: string;
  body: string;
}

/**
 * Connections to a server, one for each user, that stay open between bursts. In a burst each sends its next request
 * after the last response. A wrong response fails the burst.
 */
export class Load {
  readonly #connections: readonly Connection[];

  private constructor(connections: readonly Connection[]) {
    this.#connections = connections;
  }

  static async open(port: number, visitors: readonly Visitor[]): Promise<Load> {
    const opened = visitors.map(async (visitor) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      await once(socket, 'connect');
      return new Connection(socket, visitor);
    });
    return new Load(await Promise.all(opened));
  }

  /** Returns the number of responses; for no time at all, each connection gets one. */
  async burst(durationMs: number): Promise<number> {
    const until = performance.now() + durationMs;
    const counts = await Promise.all(this.#connections.map((one) => one.ask(until)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #request: string;
  readonly #body: string;
  #received = '';
  #answers = 0;
  #until = 0;
  #settle: { resolve(answers: number): void; reject(error: Error): void } | null = null;

  constructor(socket: Socket, { cookie, body }: Visitor) {
    this.#socket = socket;
    this.#body = body;
    this.#request = `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${cookie}\r\n\r\n`;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('close', () => this.#settle?.reject(new Error('the server closed a connection')));
    socket.on('error', (error) => this.#settle?.reject(error));
  }

  /** Sends requests until this moment of `performance.now()`. Returns the number of responses. */
  ask(until: number): Promise<number> {
    this.#until = until;
    this.#answers = 0;
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      if (this.#socket.destroyed) reject(new Error('the server has closed a connection'));
      else this.#socket.write(this.#request);
    });
  }

  close(): void {
    this.#settle = null;
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#received += text;
    const headEnd = this.#received.indexOf('\r\n\r\n') + 4;
    if (headEnd < 4) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#received)?.[1]);
    if (this.#received.length < headEnd + length) return;
    const answer = this.#received;
    this.#received = '';
    if (!answer.startsWith('HTTP/1.1 200 ') || answer.slice(headEnd) !== this.#body) {
      this.#settle?.reject(new Error(`expected ${this.#body}, got ${answer}`));
      return;
    }
    this.#answers++;
    if (performance.now() < this.#until) this.#socket.write(this.#request);
    else this.#settle?.resolve(this.#answers);
  }
}

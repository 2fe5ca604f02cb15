import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A way to a server that can be made slow, deaf or broken, while the server itself is well. */
export interface TcpProxy {
  readonly port: number;
  /** Connections that are open now. */
  readonly connections: number;
  /**
   * Back to normal. What was held goes on its way; a connection that has lost bytes is cut, since no stream has holes.
   */
  pass(): void;
  /** From now on each direction's bytes arrive that much later, in their order. */
  delay(ms: number): void;
  /** Keeps what comes, in both directions, until `pass()`: a network that is away for a while. */
  hold(): void;
  /** Takes what comes and gives nothing on, in both directions. Connections stay open; new ones are taken, too. */
  swallow(): void;
  /** Requests reach the server, its replies don't come back. */
  swallowReplies(): void;
  /**
   * The same for connections alone on which such a request has come, or comes: to these the server is deaf and dumb.
   */
  swallowOf(pattern: RegExp): void;
  /**
   * Swallows what comes on the connections that there are, as a firewall does that has forgotten them. New ones go
   * through.
   */
  forget(): void;
  /** Puts a text of the same length in place of another in replies. */
  rewriteReplies(text: string, replacement: string): void;
  /** Ends the connections that there are. New ones go through. */
  cut(): void;
  /** Ends the connections that there are, and new ones at once. */
  refuse(): void;
  /** Cuts the connection of the first request that matches, which doesn't reach the server. Resolves then. */
  loseRequest(pattern: RegExp): Promise<void>;
  /**
   * Cuts the connection of the first reply that matches: the server has done its work and nobody is told. Resolves
   * then.
   */
  loseReply(pattern: RegExp): Promise<void>;
  /** Cuts the connection at the first reply that follows a request that matches. Resolves then. */
  loseReplyTo(pattern: RegExp): Promise<void>;
  /** New connections lead to another server: a name, or an address, that has moved. */
  leadTo(port: number): void;
  stop(): Promise<void>;
}

/** Bytes of a connection's requests that are kept, at least: a handshake and what follows it. */
const BEGINNING = 4096;

type Direction = 'request' | 'reply';
type Mode = 'pass' | 'hold' | 'swallow' | 'swallow replies' | 'refuse';

/** Sees each chunk before it goes on; `true` cuts its connection instead. Patterns see bytes as Latin-1. */
type Watcher = (direction: Direction, text: string, link: Link) => boolean;

interface Link {
  readonly lanes: readonly Lane[];
  /** What was requested first. */
  requested: string;
  hasLost: boolean;
  isForgotten: boolean;
  cut(): void;
}

export async function startProxy(targetPort: number): Promise<TcpProxy> {
  const links = new Set<Link>();
  const watchers = new Set<Watcher>();
  let mode: Mode = 'pass';
  let delayMs = 0;
  let port = targetPort;
  let swallowedOf: RegExp | null = null;
  let rewritten: { text: string; replacement: string } | null = null;

  const rewrite = (chunk: Buffer) => {
    if (rewritten === null) return chunk;
    return Buffer.from(chunk.toString('latin1').replaceAll(rewritten.text, rewritten.replacement), 'latin1');
  };
  const isSwallowed = (direction: Direction, link: Link) =>
    mode === 'swallow' ||
    link.isForgotten ||
    (mode === 'swallow replies' && direction === 'reply') ||
    swallowedOf?.test(link.requested) === true;

  const open = (client: Socket) => {
    const server = connect({ port, host: '127.0.0.1' });
    const requests = new Lane(server);
    const replies = new Lane(client);
    const link: Link = {
      lanes: [requests, replies],
      requested: '',
      hasLost: false,
      isForgotten: false,
      cut() {
        links.delete(link);
        for (const lane of link.lanes) lane.clear();
        client.destroy();
        server.destroy();
      },
    };
    links.add(link);

    const connectLane = (source: Socket, direction: Direction, lane: Lane) => {
      source.setNoDelay(true);
      source.on('error', () => {
        // 'close' follows.
      });
      source.on('data', (chunk) => {
        for (const watch of watchers) {
          if (watch(direction, chunk.toString('latin1'), link)) return link.cut();
        }
        if (direction === 'request' && link.requested.length < BEGINNING) link.requested += chunk.toString('latin1');
        if (isSwallowed(direction, link)) link.hasLost = true;
        // Later bytes of a stream never arrive without the earlier ones.
        if (isSwallowed(direction, link) || lane.isLost) lane.isLost = true;
        else lane.push(direction === 'reply' ? rewrite(chunk) : chunk, delayMs, mode === 'hold');
      });
      source.on('close', () => {
        if (isSwallowed(direction, link)) link.hasLost = true;
        else lane.push(null, delayMs, mode === 'hold');
        if (client.destroyed && server.destroyed) links.delete(link);
      });
    };
    connectLane(client, 'request', requests);
    connectLane(server, 'reply', replies);
  };

  const listener = createServer((client) => {
    if (mode !== 'refuse') return open(client);
    client.on('error', () => undefined);
    client.destroy();
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');

  const cut = () => {
    for (const link of links) link.cut();
  };
  const watchOnce = (watch: Watcher) =>
    new Promise<void>((resolve) => {
      const watcher: Watcher = (direction, text, link) => {
        if (!watch(direction, text, link)) return false;
        watchers.delete(watcher);
        resolve();
        return true;
      };
      watchers.add(watcher);
    });

  return {
    port: (listener.address() as AddressInfo).port,
    get connections() {
      return links.size;
    },
    pass() {
      mode = 'pass';
      swallowedOf = null;
      rewritten = null;
      delayMs = 0;
      for (const link of links) {
        if (link.hasLost) link.cut();
        else for (const lane of link.lanes) lane.release();
      }
    },
    delay(ms) {
      mode = 'pass';
      delayMs = ms;
    },
    hold() {
      mode = 'hold';
    },
    swallow() {
      mode = 'swallow';
    },
    swallowReplies() {
      mode = 'swallow replies';
    },
    swallowOf(pattern) {
      swallowedOf = pattern;
    },
    forget() {
      for (const link of links) link.isForgotten = true;
    },
    rewriteReplies(text, replacement) {
      rewritten = { text, replacement };
    },
    cut,
    refuse() {
      mode = 'refuse';
      cut();
    },
    loseRequest: (pattern) => watchOnce((direction, text) => direction === 'request' && pattern.test(text)),
    loseReply: (pattern) => watchOnce((direction, text) => direction === 'reply' && pattern.test(text)),
    loseReplyTo(pattern) {
      let asked: Link | undefined;
      return watchOnce((direction, text, link) => {
        if (direction === 'request' && asked === undefined && pattern.test(text)) asked = link;
        return direction === 'reply' && link === asked;
      });
    },
    leadTo(other) {
      port = other;
    },
    async stop() {
      cut();
      listener.close();
      await once(listener, 'close');
    },
  };
}

/** One direction of a connection: what is on its way to the sink. `null` is the end. */
class Lane {
  isLost = false;
  private readonly chunks: (Buffer | null)[] = [];
  private readonly timers = new Set<NodeJS.Timeout>();
  private lastDue = 0;
  private isHeld = false;

  constructor(private readonly sink: Socket) {}

  push(chunk: Buffer | null, delayMs: number, hold: boolean): void {
    if (hold) this.isHeld = true;
    if (!this.isHeld && delayMs === 0 && this.chunks.length === 0) {
      this.write(chunk);
      return;
    }
    this.chunks.push(chunk);
    if (this.isHeld) return;
    // None overtakes an earlier one, whatever the delay has been changed to.
    const now = performance.now();
    this.lastDue = Math.max(this.lastDue, now + delayMs);
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      const next = this.chunks.shift();
      if (next !== undefined) this.write(next);
    }, this.lastDue - now);
    this.timers.add(timer);
  }

  release(): void {
    const waiting = this.chunks.splice(0);
    this.clear();
    for (const chunk of waiting) this.write(chunk);
  }

  clear(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    this.chunks.length = 0;
    this.isHeld = false;
  }

  private write(chunk: Buffer | null): void {
    if (!this.sink.writable) return;
    if (chunk === null) this.sink.destroySoon();
    else this.sink.write(chunk);
  }
}

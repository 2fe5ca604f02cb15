import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A proxy to a healthy server that can be made slow, silent or broken. */
export interface TcpProxy {
  readonly port: number;
  /** Connections that are open now. */
  readonly connections: number;
  /** Returns to normal. Held bytes are passed on; a connection that has lost bytes is cut: a stream has no holes. */
  pass(): void;
  /** Delays each direction's bytes by this time from now on, in order. */
  delay(ms: number): void;
  /** Holds the bytes of both directions until `pass()`: a network outage. */
  hold(): void;
  /** Drops the bytes of both directions. Connections stay open, and new ones are accepted. */
  swallow(): void;
  /** Passes requests to the server, and drops its replies. */
  swallowReplies(): void;
  /** Drops the bytes of both directions on each connection that has sent, or sends, a matching request. */
  swallowOf(pattern: RegExp): void;
  /** Drops all bytes on the open connections, like a firewall that has forgotten them. New ones work. */
  forget(): void;
  /** Replaces a text in replies by another of the same length. */
  rewriteReplies(text: string, replacement: string): void;
  /** Ends the open connections. New ones work. */
  cut(): void;
  /** Ends the open connections, and new ones at once. */
  refuse(): void;
  /** Cuts the connection of the first matching request, before the server receives it. Resolves then. */
  loseRequest(pattern: RegExp): Promise<void>;
  /** Cuts the connection of the first matching reply: the command has run, but its reply is lost. Resolves then. */
  loseReply(pattern: RegExp): Promise<void>;
  /** Cuts the connection at the first reply after a matching request. Resolves then. */
  loseReplyTo(pattern: RegExp): Promise<void>;
  /** Connects new connections to another server: a name or an address that has moved. */
  leadTo(port: number): void;
  stop(): Promise<void>;
}

/** The least number of request bytes kept for each connection: a handshake and what follows. */
const BEGINNING = 4096;

type Direction = 'request' | 'reply';
type Mode = 'pass' | 'hold' | 'swallow' | 'swallow replies' | 'refuse';

/** Inspects each chunk; `true` cuts the connection instead. Patterns see bytes as Latin-1. */
type Watcher = (direction: Direction, text: string, link: Link) => boolean;

interface Link {
  readonly lanes: readonly Lane[];
  /** The first bytes of the requests. */
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

/** One direction of a connection: the chunks on the way to the sink. `null` is the end. */
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
    // Keeps the order, even after the delay has changed.
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

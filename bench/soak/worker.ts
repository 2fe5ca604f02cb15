import { RedisStore, TokenManager } from 'tokensession';
import { monotonicMs } from '../monotonic';
import { CacheDiary } from './cache-diary';
import { Load } from './load';
import type { Orders, ToParent, ToWorker, WorkerRecord } from './messages';
import type { DealtToken, News } from './news';
import { VISITOR_TTL } from './visits';
import { Waits } from './waits';

/** Milliseconds after which memory and connections are stable under this load. */
const WARM_UP_MS = 2500;
const DEAL_MS = 300;
const MAX_CRASHES = 20;

const crashes: string[] = [];
for (const event of ['uncaughtException', 'unhandledRejection', 'warning'] as const) {
  process.on(event, (reason: unknown) => {
    const text = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
    if (crashes.length < MAX_CRASHES) crashes.push(`${event}: ${text}`);
  });
}
// Ctrl-C reaches the whole process group. The parent ends its children.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit());

function tell(message: ToParent): void {
  process.send?.(message);
}

/** A service that signs users in and out until it is stopped. */
class Worker {
  readonly #orders: Orders;
  readonly #manager: TokenManager;
  readonly #cache: CacheDiary | null;
  readonly #waits: Waits;
  readonly #load: Load;
  readonly #timers: NodeJS.Timeout[] = [];
  #loggedIn: DealtToken[] = [];
  #rotated: string[] = [];
  #ended: string[] = [];
  #before = measure();

  constructor(orders: Orders) {
    const { name, target, secret, timeoutMs, durability, cache, rotationGrace, users, operationsPerSecond, maxMs } =
      orders;
    this.#orders = orders;
    this.#manager = new TokenManager({
      store: new RedisStore(
        { ...target, password: () => password },
        { timeoutMs, durability: durability ?? undefined },
      ),
      secret,
      rotationGrace,
      visitorTtl: VISITOR_TTL,
      cache: cache ?? undefined,
    });
    this.#cache = cache && new CacheDiary(this.#manager, cache);
    this.#waits = new Waits(timeoutMs);
    this.#load = new Load({
      manager: this.#manager,
      waits: this.#waits,
      userIds: Array.from({ length: users }, (_, index) => `${name}-user-${index + 1}`),
      isDurable: durability !== null,
      isCached: cache !== null,
      graceMs: 1000 * rotationGrace,
      operationsPerSecond,
      announce: {
        loggedIn: (token) => this.#loggedIn.push(token),
        rotated: (token) => {
          this.#rotated.push(token);
          // Before its first use: if this process is stopped later, the others must not use the former token.
          this.#deal();
        },
        ended: (token) => this.#ended.push(token),
      },
    });
    this.#load.start();
    this.#timers.push(
      setInterval(() => this.#deal(), DEAL_MS),
      setTimeout(() => {
        this.#before = measure();
      }, WARM_UP_MS),
      setTimeout(() => process.exit(1), maxMs),
    );
  }

  take(news: News): void {
    this.#load.take(news);
  }

  block(ms: number): Promise<void> {
    return this.#load.block(ms);
  }

  async drain(): Promise<WorkerRecord> {
    for (const timer of this.#timers.slice(0, 2)) clearTimeout(timer);
    await this.#load.stop();
    const waits = await this.#waits.summary();
    const after = measure();
    return {
      name: this.#orders.name,
      isDurable: this.#orders.durability !== null,
      ...this.#load.record(),
      crashes,
      waits,
      cache: this.#cache?.record() ?? null,
      memory: {
        rssBefore: this.#before.rss,
        rssAfter: after.rss,
        heapBefore: this.#before.heap,
        heapAfter: after.heap,
      },
      sockets: { before: this.#before.sockets, after: after.sockets },
    };
  }

  /** A worker without a near cache has no cache faults. */
  get isCacheUp(): boolean {
    return this.#manager.cacheStats?.isUp ?? true;
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#manager.close();
  }

  #deal(): void {
    const news = { at: monotonicMs(), loggedIn: this.#loggedIn, rotated: this.#rotated, ended: this.#ended };
    tell({ tell: 'news', news });
    this.#loggedIn = [];
    this.#rotated = [];
    this.#ended = [];
  }
}

function measure(): { rss: number; heap: number; sockets: number } {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  const sockets = process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
  return { rss, heap: heapUsed, sockets };
}

let worker: Worker | undefined;
/** The current password of the servers. */
let password = '';
let isCacheUp = true;

process.on('message', async (message: ToWorker) => {
  switch (message.tell) {
    case 'begin':
      ({ password } = message.orders);
      worker = new Worker(message.orders);
      break;
    case 'news':
      worker?.take(message.news);
      break;
    case 'password':
      ({ password } = message);
      break;
    case 'block':
      await worker?.block(message.ms);
      tell({ tell: 'unblocked' });
      break;
    case 'drain':
      if (worker !== undefined) tell({ tell: 'record', record: await worker.drain() });
      break;
    case 'close':
      // By now the servers have worked for a while.
      isCacheUp = worker?.isCacheUp ?? true;
      await worker?.close();
      tell({ tell: 'closed', crashes, isCacheUp });
      // Without the channel to the parent, only an open handle of the manager could keep this process running.
      process.removeAllListeners('disconnect');
      process.disconnect();
  }
});
tell({ tell: 'ready' });

import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Orders, ToParent, ToWorker, WorkerRecord } from './messages';
import type { News } from './news';

const START_MS = 20_000;
const DRAIN_MS = 15_000;
const UNBLOCK_MS = 10_000;
const CLOSE_MS = 5000;
/** Tokens kept to choose from. */
const MAX_TOKENS = 500;

/** One worker process, as its parent sees it. */
class Hand {
  readonly name: string;
  readonly process: ChildProcess;
  readonly exited: Promise<void>;

  constructor(name: string, onNews: (news: News) => void) {
    this.name = name;
    this.process = fork(join(__dirname, 'worker.ts'), [], {
      // With `gc`, so that what is measured as memory is what is held.
      execArgv: ['--expose-gc', '--import', 'tsx'],
      env: { ...process.env, NODE_ENV: 'production' },
    });
    this.exited = new Promise((resolve) => this.process.once('exit', () => resolve()));
    this.process.on('message', (message: ToParent) => {
      if (message.tell === 'news') onNews(message.news);
    });
  }

  get hasExited(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  tell(message: ToWorker): void {
    if (!this.hasExited && this.process.connected) this.process.send(message);
  }

  /** The next message of this kind; `null` when the worker ends before, or doesn't send it in time. */
  answer<Tell extends ToParent['tell']>(
    tell: Tell,
    timeoutMs: number,
  ): Promise<Extract<ToParent, { tell: Tell }> | null> {
    return new Promise((resolve) => {
      const settle = (answer: Extract<ToParent, { tell: Tell }> | null) => {
        clearTimeout(timer);
        this.process.off('message', onMessage);
        resolve(answer);
      };
      const onMessage = (message: ToParent) => {
        if (message.tell === tell) settle(message as Extract<ToParent, { tell: Tell }>);
      };
      const timer = setTimeout(settle, timeoutMs, null);
      this.process.on('message', onMessage);
      void this.exited.then(() => settle(null));
    });
  }
}

/** The worker processes of a part of the soak. */
export class Crew {
  readonly #hands: Hand[];
  readonly #crashes: string[] = [];
  #tokens: string[] = [];

  constructor(names: readonly string[]) {
    this.#hands = names.map((name) => new Hand(name, (news) => this.#deal(name, news)));
  }

  /** What went wrong with the processes themselves. */
  get crashes(): readonly string[] {
    return this.#crashes;
  }

  /** One of the last tokens whose login was acknowledged. */
  anyToken(): string {
    const token = this.#tokens[Math.floor(Math.random() * this.#tokens.length)];
    if (token === undefined) throw new Error('no worker has logged anybody in');
    return token;
  }

  async begin(orders: readonly Orders[]): Promise<void> {
    const ready = await Promise.all(this.#hands.map((hand) => hand.answer('ready', START_MS)));
    if (ready.includes(null)) throw new Error('a worker did not start');
    for (const [index, hand] of this.#hands.entries()) hand.tell({ tell: 'begin', orders: orders[index] as Orders });
  }

  /** Stops a worker's process where it is. Gives what lets it go on. */
  hold(name: string): () => void {
    const held = this.#hands.find((hand) => hand.name === name);
    held?.process.kill('SIGSTOP');
    return () => void held?.process.kill('SIGCONT');
  }

  /** Blocks the event loop of one of the workers, and waits until it goes on. */
  async block(ms: number): Promise<void> {
    const hand = this.#hands[Math.floor(Math.random() * this.#hands.length)];
    const answer = hand?.answer('unblocked', ms + UNBLOCK_MS);
    hand?.tell({ tell: 'block', ms });
    if ((await answer) === null) this.#crashes.push(`${hand?.name} did not go on after it was blocked`);
  }

  /** Has each connect with this password from now on. */
  announce(password: string): void {
    for (const hand of this.#hands) hand.tell({ tell: 'password', password });
  }

  /** Ends the load. A worker that has no record to give has crashed. */
  async drain(): Promise<WorkerRecord[]> {
    const answers = await Promise.all(
      this.#hands.map((hand) => {
        const answer = hand.answer('record', DRAIN_MS);
        hand.tell({ tell: 'drain' });
        return answer;
      }),
    );
    for (const [index, answer] of answers.entries()) {
      if (answer === null) this.#crashes.push(`${this.#hands[index]?.name} gave no record`);
    }
    return answers.flatMap((answer) => answer?.record ?? []);
  }

  /** Lets each close its manager and end by itself. */
  async close(): Promise<void> {
    await Promise.all(
      this.#hands.map(async (hand) => {
        const answer = hand.answer('closed', CLOSE_MS);
        hand.tell({ tell: 'close' });
        const closed = await answer;
        await Promise.race([hand.exited, sleep(CLOSE_MS, undefined, { ref: false })]);
        if (closed === null || !hand.hasExited) this.#crashes.push(`${hand.name} did not end by itself`);
        else if (hand.process.exitCode !== 0) this.#crashes.push(`${hand.name} ended with ${hand.process.exitCode}`);
        if (closed?.isCacheUp === false) this.#crashes.push(`${hand.name}: its near cache was down in the end`);
        this.#crashes.push(...(closed?.crashes ?? []).map((crash) => `${hand.name}: ${crash}`));
      }),
    );
  }

  /** Ends what hasn't ended. */
  async kill(): Promise<void> {
    for (const hand of this.#hands) if (!hand.hasExited) hand.process.kill('SIGKILL');
    await Promise.all(this.#hands.map((hand) => hand.exited));
  }

  /** Sends each worker the news of all others. */
  #deal(from: string, news: News): void {
    this.#tokens = [...this.#tokens, ...news.loggedIn.map(([token]) => token)].slice(-MAX_TOKENS);
    for (const hand of this.#hands) if (hand.name !== from) hand.tell({ tell: 'news', news });
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pin } from './machine';

/**
 * A program of this folder in its own process: V8 compiles it for its own work alone, and its CPU time is separate.
 * Accepts one question at a time.
 */
export class Child {
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#process = child;
  }

  /** Starts `program` and waits until it is ready. `node`: the path of a Node; by default this one. */
  static async start(
    program: string,
    args: readonly string[],
    cpu: number | null,
    node = process.execPath,
  ): Promise<Child> {
    const child = spawn(node, ['--import', 'tsx', join(__dirname, program), ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, NODE_ENV: 'production' },
    });
    const started = new Child(child);
    await started.#answer();
    pin(child.pid as number, cpu);
    return started;
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  async ask<Answer>(question: unknown): Promise<Answer> {
    this.#process.send(question as object);
    return (await this.#answer()) as Answer;
  }

  /** Microseconds of CPU time of all its threads, as counted by the Linux scheduler. */
  get cpuMicros(): number {
    const tasks = `/proc/${this.pid}/task`;
    const nanos = readdirSync(tasks).map((task) =>
      Number(readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0]),
    );
    return nanos.reduce((sum, value) => sum + value, 0) / 1000;
  }

  /** Microseconds of that for each of the calls that some work makes. The work gives their number. */
  async cpuMicrosPerCall(work: () => Promise<number>): Promise<number> {
    const before = this.cpuMicros;
    const calls = await work();
    return (this.cpuMicros - before) / calls;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const exited = once(this.#process, 'exit');
    this.#process.kill();
    await exited;
  }

  async #answer(): Promise<unknown> {
    const waiting = new AbortController();
    const message = once(this.#process, 'message', waiting);
    const exit = once(this.#process, 'exit', waiting).then(([code]) => {
      throw new Error(`${this.#process.spawnargs.slice(3).join(' ')} ended with code ${code}`);
    });
    try {
      const [answer] = await Promise.race([message, exit]);
      return answer;
    } finally {
      waiting.abort();
      await Promise.allSettled([message, exit]);
    }
  }
}

/** The child's side: reports that it is ready, and answers. An error ends the child, and with it the bench. */
export function answerQuestions(answer: (question: unknown) => unknown): void {
  process.on('message', async (question) => process.send?.(await answer(question)));
  process.on('disconnect', () => process.exit());
  process.send?.('ready');
}

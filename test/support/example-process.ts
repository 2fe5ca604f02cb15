import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from './doc-pages';

export interface ExampleProcess {
  /** What it has printed so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** The first match in stdout, once it is printed. Rejects when the process ends without it. */
  printed(text: RegExp): Promise<RegExpExecArray>;
  /** The exit code after the process has ended and all output is read; `null` if a signal ended it. */
  readonly ended: Promise<number | null>;
  /** Sends SIGTERM, and returns the exit code. */
  terminate(): Promise<number | null>;
}

/** How to end each process that hasn't ended. */
const running = new Map<ExampleProcess, () => Promise<void>>();

/** Runs an example as its reader would, with this environment and nothing of the tests' own settings. */
export function runExample(path: string, env: Record<string, string> = {}): ExampleProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', join('examples', path)], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    output.stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    output.stderr += chunk;
  });
  let hasEnded = false;
  const ended = once(child, 'close').then(([code]) => {
    hasEnded = true;
    running.delete(example);
    return code as number | null;
  });
  const example: ExampleProcess = {
    get stdout() {
      return output.stdout;
    },
    get stderr() {
      return output.stderr;
    },
    ended,
    async printed(text) {
      for (;;) {
        const match = text.exec(output.stdout);
        if (match !== null) return match;
        if (hasEnded) throw new Error(`${path} ended without printing ${text}:\n${output.stdout}${output.stderr}`);
        await Promise.race([once(child.stdout, 'data'), ended]);
      }
    },
    terminate() {
      child.kill('SIGTERM');
      return Promise.race([
        ended,
        sleep(30_000, null, { ref: false }).then(() => Promise.reject(new Error('still up'))),
      ]);
    },
  };
  running.set(example, async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return example;
}

/** Ends the processes that a test has left running, however the test ended, but those that later tests use. */
export async function killExamples(except: readonly ExampleProcess[] = []): Promise<void> {
  await Promise.all([...running].map(([example, kill]) => !except.includes(example) && kill()));
}

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from './doc-pages';
import { failuresOf, runJest } from './jest-run';

/*
 * Runs test suites several times on a busy machine, and prints the failures. Fails if there are any.
 *
 *   npm run test:stress -- --times 3 --hogs 2 near-cache sentinel
 *
 * A name selects all suites whose paths in `test` contain it: a file or a folder. Without names, all suites run.
 */

/** Keeps a core busy, and ends with the process that started it. */
const HOG = `
  process.on('disconnect', () => process.exit());
  const work = () => { for (const end = Date.now() + 50; Date.now() < end; ); setImmediate(work); };
  work();
`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { times: { type: 'string', default: '3' }, hogs: { type: 'string', default: '2' } },
  });
  const [times, hogs] = [countOf('times', values.times), countOf('hogs', values.hogs)];
  const folder = await mkdtemp(join(tmpdir(), 'tokensession-stress-'));
  const busy = Array.from({ length: hogs }, () =>
    spawn(process.execPath, ['-e', HOG], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
  );
  try {
    for (let time = 1; time <= times; time++) {
      const begin = performance.now();
      const { numPassedTests, testResults } = await runJest({
        root: ROOT,
        outputFile: join(folder, `${time}.json`),
        names: positionals,
      });
      const failures = testResults.flatMap(failuresOf);
      const seconds = Math.round((performance.now() - begin) / 1000);
      console.log(`${time} of ${times}: ${failures.length} failed, ${numPassedTests} passed, ${seconds} s`);
      for (const { name, message } of failures) console.log(`\n${name}\n${message}\n`);
      if (failures.length > 0 || numPassedTests === 0) process.exitCode = 1;
    }
  } finally {
    for (const hog of busy) hog.kill();
    await rm(folder, { recursive: true });
  }
}

function countOf(name: string, text: string): number {
  if (!/^\d{1,3}$/.test(text)) throw new RangeError(`--${name} must be a whole number, got ${text}`);
  return Number(text);
}

void main();

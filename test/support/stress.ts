import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/*
 * Runs test suites several times on a busy machine, and prints what failed. Fails when anything did.
 *
 *   npm run test:stress -- --times 3 --hogs 2 near-cache sentinel
 *
 * A name stands for all suites whose file names hold it; none stands for all suites.
 */
const ROOT = join(__dirname, '../..');

/** Keeps a core busy, and ends with the process that started it. */
const HOG = `
  process.on('disconnect', () => process.exit());
  const work = () => { for (const end = Date.now() + 50; Date.now() < end; ); setImmediate(work); };
  work();
`;

/** What is used of Jest's report. */
interface JestReport {
  numPassedTests: number;
  testResults: {
    name: string;
    message: string;
    status: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

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
      const { numPassedTests, testResults } = await runJest(positionals, join(folder, `${time}.json`));
      const failures = testResults.flatMap(failuresOf);
      const seconds = Math.round((performance.now() - begin) / 1000);
      console.log(`${time} of ${times}: ${failures.length} failed, ${numPassedTests} passed, ${seconds} s`);
      for (const failure of failures) console.log(`\n${failure}\n`);
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

async function runJest(names: readonly string[], outputFile: string): Promise<JestReport> {
  const jest = ['--disable-warning=TOKENSESSION_CLIENT', join(ROOT, 'node_modules/jest/bin/jest.js')];
  const args = ['--silent', '--json', '--outputFile', outputFile, ...names.map((name) => `/test/[^/]*${name}`)];
  const child = spawn(process.execPath, [...jest, ...args], { cwd: ROOT, stdio: 'ignore' });
  await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
  return JSON.parse(await readFile(outputFile, 'utf8')) as JestReport;
}

/** Each with the test's whole name. A suite that could not run fails as one. */
function failuresOf({ name, message, status, assertionResults }: JestReport['testResults'][number]): string[] {
  const failed = assertionResults.filter((test) => test.status === 'failed');
  if (failed.length === 0 && status === 'failed') return [`${name}\n${message}`];
  return failed.map(({ fullName, failureMessages }) => `${name}: ${fullName}\n${failureMessages.join('\n')}`);
}

void main();

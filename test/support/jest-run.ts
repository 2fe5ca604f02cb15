import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The part of Jest's report that is used. */
export interface JestReport {
  numPassedTests: number;
  numFailedTests: number;
  testResults: {
    name: string;
    message: string;
    status: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

interface JestRun {
  /** The folder of the project. */
  root: string;
  /** The file for the report. */
  outputFile: string;
  /** Each selects all suites whose paths in `test` contain it. An empty list selects all suites. */
  names: readonly string[];
  /** Further arguments. */
  args?: readonly string[];
  /** The Node that runs Jest. Default: this one. */
  node?: string;
  env?: NodeJS.ProcessEnv;
}

/** Runs suites in a separate process. Rejects when Jest writes no report. */
export async function runJest(run: JestRun): Promise<JestReport> {
  const { root, outputFile, names, args = [], node = process.execPath, env = process.env } = run;
  const jest = ['--disable-warning=TOKENSESSION_CLIENT', join(root, 'node_modules/jest/bin/jest.js')];
  // The names come first: an option with a list would consume them.
  const patterns = names.map((name) => `/test/.*${name}`);
  const options = ['--silent', '--json', '--outputFile', outputFile, ...args];
  await rm(outputFile, { force: true });
  const child = spawn(node, [...jest, ...patterns, ...options], { cwd: root, env, stdio: 'ignore' });
  const [code, signal] = await once(child, 'close');
  try {
    return JSON.parse(await readFile(outputFile, 'utf8')) as JestReport;
  } catch (cause) {
    throw new Error(`Jest ended with ${signal ?? code} and no report`, { cause });
  }
}

/** The failed tests of a suite: full names and messages. A suite that cannot run fails as one. */
export function failuresOf(suite: JestReport['testResults'][number]): { name: string; message: string }[] {
  const failed = suite.assertionResults.filter((test) => test.status === 'failed');
  if (failed.length === 0 && suite.status === 'failed') return [{ name: suite.name, message: suite.message }];
  return failed.map(({ fullName, failureMessages }) => {
    return { name: `${suite.name}: ${fullName}`, message: failureMessages.join('\n') };
  });
}

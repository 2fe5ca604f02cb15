/*
 * Runs all checks but the tests, in parallel: `npm run check`. With names, only those: `npm run check -- lint types`.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ROOT } from './doc-pages';

const CHECKS: Readonly<Record<string, string>> = {
  lint: 'npm run lint',
  types: 'npm run typecheck',
  reference: 'npm --prefix reference ci && npm --prefix reference run check',
  // The types of bench/ are checked against the package that has been built.
  package:
    'npm run check:package && npm --prefix bench ci && ' +
    'sh bench/install-tokensession.sh --built && npm --prefix bench run typecheck',
};

interface Failure {
  stdout: string;
  stderr: string;
}

async function run(name: string, command: string): Promise<boolean> {
  const begin = performance.now();
  const failure = await promisify(execFile)('sh', ['-c', command], { cwd: ROOT, maxBuffer: 2 ** 26 }).then(
    () => null,
    (error: Failure) => error,
  );
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  console.log(`${failure === null ? 'passed' : 'FAILED'}  ${name}  ${seconds} s  (${command})`);
  if (failure !== null) console.log(`${failure.stdout}${failure.stderr}`.trimEnd());
  return failure === null;
}

async function main(): Promise<void> {
  const names = process.argv.slice(2);
  const unknown = names.filter((name) => !Object.hasOwn(CHECKS, name));
  if (unknown.length > 0)
    throw new Error(`no check ${unknown.join(', ')}; there are ${Object.keys(CHECKS).join(', ')}`);
  const chosen = Object.entries(CHECKS).filter(([name]) => names.length === 0 || names.includes(name));
  const outcomes = await Promise.all(chosen.map(([name, command]) => run(name, command)));
  if (outcomes.includes(false)) process.exitCode = 1;
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});

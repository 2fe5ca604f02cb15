import { type ChildProcess, execFile } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { ROOT } from './doc-pages';

/** Arguments of Node for a program in TypeScript, in any folder. The command line of tsx would start a second Node. */
export const TSX = ['--import', pathToFileURL(require.resolve('tsx')).href];
/** Resolves the package's name to our sources. */
export const OUR_SOURCES = { TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json') };

/** Runs a program of the folder programs/ in a separate process. Rejects when it fails or does not end. */
export function runProgram(file: string, env: Record<string, string>): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [...TSX, join(__dirname, 'programs', file)], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    timeout: 100_000,
  });
}

/** Ends a program of a document, unless it has ended. */
export async function endProgram(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(__dirname, '../..');
const TSX = join(ROOT, 'node_modules/tsx/dist/cli.mjs');

/** Runs a program of this folder in a separate process. Rejects when it fails or does not end. */
export function runProgram(file: string, env: Record<string, string>): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [TSX, join(__dirname, file)], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    timeout: 100_000,
  });
}

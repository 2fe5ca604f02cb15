import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The folder of programs that are downloaded once: other versions of Node and of the server. */
export const DOWNLOADS = join(tmpdir(), 'tokensession-matrix');

/** A major version of Node from the npm registry, which has a package for each system. */
export async function nodeProgram(version: number): Promise<string> {
  const folder = join(DOWNLOADS, `node-${version}`);
  const name = `node-${process.platform}-${process.arch}`;
  const program = join(folder, 'node_modules', name, 'bin/node');
  if (existsSync(program)) return program;
  await mkdir(folder, { recursive: true });
  await promisify(execFile)('npm', ['install', '--no-save', '--prefix', folder, `${name}@${version}`]);
  await access(program);
  return program;
}

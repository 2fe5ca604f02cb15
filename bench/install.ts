import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Part } from './report';
import type { Samples } from './rounds';

/** Packages to install, in the measured versions. npm adds their dependencies; peers only if listed. */
const CONTESTANTS: Record<string, string[]> = {
  'tokensession + ioredis': ['tokensession', 'ioredis'],
  'tokensession, without a client': ['tokensession'],
  'express-session + connect-redis + redis': ['express-session', 'connect-redis', 'redis'],
  'express-session + connect-redis, without a client': ['express-session', 'connect-redis'],
  'koa-session + koa-redis (brings ioredis 4)': ['koa-session', 'koa-redis'],
  'redis-sessions (brings redis 4)': ['redis-sessions'],
  ioredis: ['ioredis'],
  redis: ['redis'],
};

/**
 * A production install of each in its own folder: the sum of file sizes, not of disk blocks. Once, since the result
 * does not vary.
 */
export async function benchInstall(): Promise<Part> {
  const samples: Samples = {};
  for (const [name, packages] of Object.entries(CONTESTANTS)) samples[name] = [await install(packages)];
  return {
    title: 'Installed: node_modules of a fresh production install',
    metrics: [
      { name: 'mebibytes', label: 'MiB', digits: 2 },
      { name: 'packages', label: 'packages', digits: 0 },
    ],
    samples,
    targets: [],
  };
}

async function install(packages: readonly string[]): Promise<{ mebibytes: number; packages: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'tokensession-install-'));
  try {
    await writeFile(join(folder, 'package.json'), '{ "private": true }');
    const wanted = await Promise.all(packages.map(packageAsMeasured));
    await promisify(execFile)('npm', [...INSTALL, ...wanted], { cwd: folder, env: environment() });
    const modules = join(folder, 'node_modules');
    const lock = JSON.parse(await readFile(join(modules, '.package-lock.json'), 'utf8'));
    return { mebibytes: (await bytesIn(modules)) / 2 ** 20, packages: Object.keys(lock.packages).length };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Without `--legacy-peer-deps`, npm would install peers that are not listed. */
const INSTALL = [
  'install',
  '--omit=dev',
  '--legacy-peer-deps',
  '--no-audit',
  '--no-fund',
  '--prefer-offline',
  '--loglevel=error',
];

/** The npm that runs the bench would make the npm inside it work in the folder of the bench. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_config_(local_)?prefix$/i.test(name)),
  );
}

async function packageAsMeasured(name: string): Promise<string> {
  if (name === 'tokensession') {
    const [packed = ''] = await readdir(join(__dirname, 'packed'));
    return join(__dirname, 'packed', packed);
  }
  const { version } = JSON.parse(await readFile(join(__dirname, 'node_modules', name, 'package.json'), 'utf8'));
  return `${name}@${version}`;
}

async function bytesIn(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

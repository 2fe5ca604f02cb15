import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { CpuPlan } from './machine';
import type { Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

/** The modules that a service loads for its sessions, client of Redis included. */
const CONTESTANTS: Record<string, string[]> = {
  'Node alone': [],
  ioredis: ['ioredis'],
  redis: ['redis'],
  tokensession: ['tokensession'],
  'tokensession + its Express middleware': ['tokensession', 'tokensession/express'],
  'tokensession + its Koa middleware': ['tokensession', 'tokensession/koa'],
  'express-session + connect-redis + redis': ['express-session', 'connect-redis', 'redis'],
  'koa-session + koa-redis': ['koa-session', 'koa-redis'],
  'redis-sessions': ['redis-sessions'],
};

/**
 * The time and memory to load them, each time in a new process, without Express or Koa themselves. The files are in the
 * cache of the system.
 */
export async function benchStartup({ importRounds }: Effort, cpus: CpuPlan): Promise<Part> {
  const names = Object.keys(CONTESTANTS);
  const samples = await interleave(names, { rounds: importRounds, warmUps: 1 }, (name) =>
    loadIn(CONTESTANTS[name] ?? [], cpus.measured),
  );
  return {
    title: 'Startup: modules loaded by a fresh process',
    metrics: [
      { name: 'importMs', label: 'import ms', digits: 1 },
      { name: 'rssMiB', label: 'RSS MiB', digits: 1 },
      { name: 'heapMiB', label: 'heap MiB', digits: 2 },
    ],
    samples,
    targets: [],
  };
}

async function loadIn(modules: readonly string[], cpu: number | null): Promise<Sample> {
  const node = [process.execPath, '--expose-gc', join(__dirname, 'import-probe.cjs'), ...modules];
  const [program = '', ...args] = cpu === null ? node : ['taskset', '-c', String(cpu), ...node];
  const { stdout } = await promisify(execFile)(program, args, { cwd: __dirname });
  return JSON.parse(stdout);
}

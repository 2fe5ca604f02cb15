import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';

/** The CPU of each process; `null` leaves it to the system. */
export interface CpuPlan {
  /** The measured program, alone on its CPU. */
  measured: number | null;
  redis: number | null;
  /** This process, which makes the load of the HTTP parts. */
  load: number | null;
}

/**
 * Gives the measured program its own CPU, without load or Redis, and moves this process to another. Needs `taskset` and
 * two CPUs; with a third one, Redis and the load are separate, too.
 */
export function assignCpus(): CpuPlan {
  const [measured, load, redis = load] = allowedCpus();
  if (measured === undefined || load === undefined || redis === undefined) {
    return { measured: null, redis: null, load: null };
  }
  pin(process.pid, load);
  return { measured, redis, load };
}

/** Keeps a process, with all its threads, on one CPU. */
export function pin(pid: number, cpu: number | null): void {
  if (cpu === null) return;
  execFileSync('taskset', ['-a', '-c', '-p', String(cpu), String(pid)], { stdio: 'ignore' });
  execFileSync('chrt', ['-a', '--other', '-p', '0', String(pid)], { stdio: 'ignore' });
}

/**
 * Keeps a process on one CPU with others that do not interrupt each other: each processes all input that has arrived,
 * as on a busy server. A process that wakes for each request would use several times the CPU.
 */
export function pinInTurns(pid: number, cpu: number | null): void {
  if (cpu === null) return;
  pin(pid, cpu);
  execFileSync('chrt', ['-a', '--batch', '-p', '0', String(pid)], { stdio: 'ignore' });
}

/** The environment of the numbers. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGiB: number;
  node: string;
  redis: string;
  pinned: boolean;
  packages: Record<string, string>;
}

export function describeMachine(plan: CpuPlan): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    redis:
      /v=(\S+)/.exec(execFileSync(process.env.REDIS_SERVER || 'redis-server', ['--version']).toString())?.[1] ?? '',
    pinned: plan.measured !== null,
    packages: installedVersions(),
  };
}

/** Empty without `taskset`: on macOS, Windows and in some containers. */
function allowedCpus(): number[] {
  let answer: string;
  try {
    answer = execFileSync('taskset', ['-c', '-p', String(process.pid)]).toString();
  } catch {
    return [];
  }
  const ranges = answer.slice(answer.lastIndexOf(':') + 1).split(',');
  return ranges.flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

function installedVersions(): Record<string, string> {
  const read = (path: string) => JSON.parse(readFileSync(join(__dirname, path), 'utf8'));
  const names = ['tokensession', ...Object.keys(read('package.json').dependencies)];
  return Object.fromEntries(names.map((name) => [name, read(join('node_modules', name, 'package.json')).version]));
}

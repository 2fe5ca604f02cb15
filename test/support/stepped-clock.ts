import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';

/**
 * Whether the clocks of servers are stepped while they run, instead of the moments in their records. That needs a
 * server which starts with libfaketime: `npm run matrix` has one.
 */
export const IS_CLOCK_STEPPED = Boolean(process.env.STEP_CLOCK);

/** Milliseconds by which the clocks of servers are ahead, by the servers' folders. */
const steps = new Map<string, number>();

/** The environment that makes the clock of a server with this folder follow a file. */
export function clockOf(folder: string): NodeJS.ProcessEnv {
  if (!IS_CLOCK_STEPPED) return {};
  return { FAKETIME_TIMESTAMP_FILE: setClock(folder, steps.get(folder) ?? 0) };
}

/** Steps the clock of a running server, into the past where `ms` is negative. */
export async function stepClock(admin: Redis, ms: number): Promise<void> {
  const [, folder = ''] = (await admin.config('GET', 'dir')) as string[];
  const before = await secondsOf(admin);
  setClock(folder, (steps.get(folder) ?? 0) + ms);
  const stepped = (await secondsOf(admin)) - before;
  // A busy machine may take seconds for that.
  if (Math.abs(stepped * 1000 - ms) > 60_000) {
    throw new Error(`the clock of the server moved by ${stepped} s, not by ${ms / 1000}: it needs libfaketime`);
  }
}

function setClock(folder: string, ms: number): string {
  steps.set(folder, ms);
  const file = join(folder, 'clock');
  // The server reads the file at any moment, and must not find half of it.
  writeFileSync(`${file}-next`, `${ms < 0 ? '' : '+'}${ms / 1000}\n`);
  renameSync(`${file}-next`, file);
  return file;
}

const secondsOf = async (admin: Redis) => Number((await admin.time())[0]);

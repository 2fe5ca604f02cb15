import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from './machine';
import type { Part } from './report';

/** The latest results of each part, by its name in main.ts. */
export type Results = Record<string, Result>;

export interface Result extends Part {
  /** ISO 8601. */
  at: string;
  /** The measured sources. */
  commit: string;
  seconds: number;
  machine: Machine;
}

/** Quick numbers are kept apart: those of a full run are what the documentation shows. */
const fileFor = (isQuick: boolean) => join(__dirname, isQuick ? 'results-quick.json' : 'results.json');

export async function readResults(isQuick: boolean): Promise<Results> {
  try {
    return JSON.parse(await readFile(fileFor(isQuick), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

export async function writeResults(results: Results, isQuick: boolean): Promise<void> {
  await writeFile(fileFor(isQuick), `${JSON.stringify(results, null, 2)}\n`);
}

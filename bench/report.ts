import type { Machine } from './machine';
import { type Sample, type Samples, type Spread, spreadOf } from './rounds';

export interface Part {
  title: string;
  metrics: Metric[];
  samples: Samples;
  targets: Target[];
}

export interface Metric {
  name: string;
  label: string;
  digits: number;
}

/** A ratio of two contestants in one metric, and what we want of it. */
export interface Target {
  what: string;
  ratio: Spread;
  atLeast?: number;
  atMost?: number;
  met: boolean;
}

interface Wanted {
  metric: string;
  ours: string;
  theirs: string;
  atLeast?: number;
  atMost?: number;
}

/** The ratio is taken in each round, of neighbours in time, and its median judged: what slows the machine for a while cancels out. */
export function judge(samples: Samples, { metric, ours, theirs, atLeast, atMost }: Wanted): Target {
  const ratio = spreadOf(
    valuesOf(samples[ours], metric).map((value, round) => value / (valuesOf(samples[theirs], metric)[round] ?? 0)),
  );
  const met = ratio.median >= (atLeast ?? 0) && ratio.median <= (atMost ?? Number.POSITIVE_INFINITY);
  return {
    what: `${metric}: ${ours} / ${theirs}`,
    ratio,
    met,
    ...(atLeast !== undefined && { atLeast }),
    ...(atMost !== undefined && { atMost }),
  };
}

export function printMachine({ cpu, cores, memoryGiB, node, redis, pinned, packages }: Machine): void {
  console.log(`${cpu}, ${cores} cores, ${memoryGiB} GiB; node ${node}, redis ${redis}`);
  console.log(pinned ? 'each measured process has a CPU of its own (taskset)' : 'processes are not pinned to CPUs');
  console.log(
    Object.entries(packages)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  );
}

/** Medians, with the lowest and the highest round in brackets. */
export function printPart({ title, metrics, samples, targets }: Part): void {
  console.log(`\n${title}`);
  printTable([
    ['', ...metrics.map(({ label }) => label)],
    ...Object.entries(samples).map(([contestant, rounds]) => [
      contestant,
      ...metrics.map(({ name, digits }) => spreadText(spreadOf(valuesOf(rounds, name)), digits)),
    ]),
  ]);
  printTable(
    targets.map(({ what, ratio, atLeast, met }, index) => [
      what,
      spreadText(ratio, 2),
      `target ${atLeast === undefined ? `at most ${targets[index]?.atMost}` : `at least ${atLeast}`}`,
      met ? 'met' : 'MISSED',
    ]),
  );
}

function printTable(rows: string[][]): void {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)), []);
  for (const row of rows) {
    const cells = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    console.log(`  ${cells.join('  ')}`);
  }
}

function spreadText({ median, min, max }: Spread, digits: number): string {
  const [middle, low, high] = [median, min, max].map((value) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  );
  return `${middle} (${low}-${high})`;
}

function valuesOf(rounds: readonly Sample[] | undefined, metric: string): number[] {
  return (rounds ?? []).map((sample) => sample[metric] ?? Number.NaN);
}

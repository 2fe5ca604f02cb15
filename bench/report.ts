import type { Machine } from './machine';
import { type Sample, type Samples, type Spread, spreadOf } from './rounds';

export interface Part {
  title: string;
  metrics: Metric[];
  samples: Samples;
  targets: Target[];
  /** What depends on a size, for a chart each. */
  series?: Series[];
  /** What a reader of the numbers has to know. */
  notes?: string[];
}

export interface Series {
  title: string;
  x: Axis;
  y: Axis;
  lines: Line[];
}

export interface Axis {
  /** With its unit. */
  label: string;
  log: boolean;
}

export interface Line {
  name: string;
  points: { x: number; y: number }[];
}

export interface Metric {
  name: string;
  label: string;
  digits: number;
}

/** A value, mostly a ratio of two contestants in one metric, and what we want of it. */
export interface Target {
  what: string;
  value: Spread;
  atLeast?: number;
  atMost?: number;
  met: boolean;
}

interface Bounds {
  atLeast?: number;
  atMost?: number;
}

/** The ratio is taken in each round, of neighbours in time, and its median judged: what slows the machine for a while cancels out. */
export function judge(
  samples: Samples,
  { metric, ours, theirs, ...bounds }: { metric: string; ours: string; theirs: string } & Bounds,
): Target {
  const theirValues = valuesOf(samples[theirs], metric);
  const ratios = valuesOf(samples[ours], metric).map((value, round) => value / (theirValues[round] ?? Number.NaN));
  return judged(`${metric}: ${ours} / ${theirs}`, ratios, bounds);
}

/** The metric itself is judged, by its median. */
export function judgeValue(
  samples: Samples,
  { metric, of, ...bounds }: { metric: string; of: string } & Bounds,
): Target {
  return judged(`${metric}: ${of}`, valuesOf(samples[of], metric), bounds);
}

function judged(what: string, values: readonly number[], { atLeast, atMost }: Bounds): Target {
  const value = spreadOf(values);
  return {
    what,
    value,
    met: value.median >= (atLeast ?? Number.NEGATIVE_INFINITY) && value.median <= (atMost ?? Number.POSITIVE_INFINITY),
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
export function printPart({ title, metrics, samples, targets, series = [], notes = [] }: Part): void {
  console.log(`\n${title}`);
  printTable([
    ['', ...metrics.map(({ label }) => label)],
    ...Object.entries(samples).map(([contestant, rounds]) => [
      contestant,
      ...metrics.map(({ name, digits }) => spreadText(spreadOf(valuesOf(rounds, name)), digits)),
    ]),
  ]);
  for (const one of series) printSeries(one);
  printTable(
    targets.map(({ what, value, atLeast, atMost, met }) => [
      what,
      spreadText(value, 2),
      `target ${atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`}`,
      met ? 'met' : 'MISSED',
    ]),
  );
  for (const note of notes) console.log(`  ${note}`);
}

function printSeries({ title, x, y, lines }: Series): void {
  const places = [...new Set(lines.flatMap(({ points }) => points.map((point) => point.x)))].sort((a, b) => a - b);
  console.log(`\n  ${title}: ${y.label}`);
  printTable([
    [x.label, ...lines.map(({ name }) => name)],
    ...places.map((place) => [
      place.toLocaleString('en'),
      ...lines.map(({ points }) => {
        const point = points.find((other) => other.x === place);
        return point === undefined ? '' : point.y.toLocaleString('en', { maximumSignificantDigits: 3 });
      }),
    ]),
  ]);
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

import type { Machine } from './machine';
import { type Sample, type Samples, type Spread, spreadOf } from './rounds';

export interface Part {
  title: string;
  metrics: Metric[];
  samples: Samples;
  /** Contestants to compare each other one with, by CPU a request. */
  standards?: string[];
  targets: Target[];
  /** Results that depend on a size, a chart each. */
  series?: Series[];
  /** Notes for readers of the numbers. */
  notes?: string[];
}

export interface Series {
  title: string;
  x: Axis;
  y: Axis;
  lines: Line[];
}

export interface Axis {
  /** The name, with its unit. */
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

/** A value, mostly a ratio of two contestants in one metric, and its target. */
export interface Target {
  metric: string;
  what: string;
  value: Spread;
  atLeast?: number;
  atMost?: number;
  met: boolean;
}

/** Between the two contestants of a ratio. */
const OVER = ' / ';

/** Whether a target compares two contestants. */
export function isRatio({ what }: Target): boolean {
  return what.includes(OVER);
}

interface Bounds {
  atLeast?: number;
  atMost?: number;
}

/** The median of {@link ratiosOf} is judged. */
export function judge(
  samples: Samples,
  { metric, ours, theirs, ...bounds }: { metric: string; ours: string; theirs: string } & Bounds,
): Target {
  return judged(metric, `${ours}${OVER}${theirs}`, ratiosOf(samples, metric, ours, theirs), bounds);
}

/** The metric itself is judged, by its median. */
export function judgeValue(
  samples: Samples,
  { metric, of, ...bounds }: { metric: string; of: string } & Bounds,
): Target {
  return judged(metric, of, valuesOf(samples[of], metric), bounds);
}

function judged(metric: string, what: string, values: readonly number[], { atLeast, atMost }: Bounds): Target {
  const value = spreadOf(values);
  return {
    metric,
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

export function printPart(part: Part): void {
  console.log(`\n${part.title}`);
  printTable(sampleRows(part));
  for (const series of part.series ?? []) {
    console.log(`\n  ${series.title}: ${series.y.label}`);
    printTable(seriesRows(series));
  }
  printTable(targetRows(part));
  for (const note of part.notes ?? []) console.log(`  ${note}`);
}

/** A row for each contestant, below one of headings: medians, with the quartiles in brackets. */
export function sampleRows({ metrics, samples, standards = [] }: Part): string[][] {
  return [
    ['', ...metrics.map(({ label }) => label), ...standards.map((standard) => `% of ${standard}`)],
    ...Object.entries(samples).map(([contestant, rounds]) => [
      contestant,
      ...metrics.map(({ name, digits }) => spreadText(spreadOf(valuesOf(rounds, name)), digits)),
      ...standards.map((standard) => spreadText(shareOf(samples, standard, contestant), 1)),
    ]),
  ];
}

/** A row for each x, below one of headings. */
export function seriesRows({ x, lines }: Series): string[][] {
  const places = [...new Set(lines.flatMap(({ points }) => points.map((point) => point.x)))].sort((a, b) => a - b);
  return [
    [x.label, ...lines.map(({ name }) => name)],
    ...places.map((place) => [
      numberText(place),
      ...lines.map(({ points }) => {
        const point = points.find((other) => other.x === place);
        return point === undefined ? '' : numberText(point.y);
      }),
    ]),
  ];
}

export function targetRows(part: Part): string[][] {
  return part.targets.map((target) => {
    const { value, atLeast, atMost, met } = target;
    const wanted = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
    return [targetName(part, target), spreadText(value, 2), wanted, met ? 'met' : 'missed'];
  });
}

export function targetName({ metrics }: Part, { metric, what }: Target): string {
  return `${metrics.find(({ name }) => name === metric)?.label ?? metric}: ${what}`;
}

export function printTable(rows: string[][]): void {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)), []);
  for (const row of rows) {
    const cells = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    console.log(`  ${cells.join('  ')}`);
  }
}

export function spreadText({ median, low, high }: Spread, digits: number): string {
  // Not every contestant has every metric.
  if (Number.isNaN(median)) return '';
  const [middle, from, to] = [median, low, high].map((value) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  );
  return from === to ? `${middle}` : `${middle} (${from}-${to})`;
}

function numberText(value: number): string {
  return value.toLocaleString('en', value < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });
}

export function valuesOf(rounds: readonly Sample[] | undefined, metric: string): number[] {
  return (rounds ?? []).map((sample) => sample[metric] ?? Number.NaN);
}

/** How many requests a contestant can serve on one core, in percent of a standard: by CPU, in each round. */
export function shareOf(samples: Samples, standard: string, contestant: string): Spread {
  return spreadOf(ratiosOf(samples, 'cpuMicros', standard, contestant).map((ratio) => 100 * ratio));
}

/**
 * The ratio of two contestants in each round: they are neighbours in time, so that a slow phase of the machine cancels
 * out.
 */
function ratiosOf(samples: Samples, metric: string, ours: string, theirs: string): number[] {
  const theirValues = valuesOf(samples[theirs], metric);
  return valuesOf(samples[ours], metric).map((value, round) => value / (theirValues[round] ?? Number.NaN));
}

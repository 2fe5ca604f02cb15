/* `npm run bench -- --guard` compares the ratios of a fresh run with the kept results. */
import { isRatio, judge, type Part, printTable, spreadText, targetName } from './report';
import type { Spread } from './rounds';

/** The contestants of this package, among those that are compared with a standard. */
const OURS = /^(tokensession|checkToken|touchToken)\b/;

/** The smallest difference of two medians that counts: this share of the kept one, and at least the second number. */
const SMALLEST_SHARE = 0.02;
const SMALLEST = 0.01;

/** Two contestants compared in each round. */
interface Ratio {
  name: string;
  value: Spread;
  isMoreBetter: boolean;
}

export type Verdict = 'same' | 'better' | 'worse' | 'missing';

export interface Comparison {
  name: string;
  kept: Spread;
  /** `null`: the fresh run has no such ratio. */
  fresh: Spread | null;
  verdict: Verdict;
}

/** Whether a part has anything to compare. Times and sizes alone depend on the machine. */
export function hasRatios(part: Part): boolean {
  return ratiosIn(part).length > 0;
}

/** Compares each ratio of the kept results with that of a fresh run. */
export function compareRatios(kept: Part, fresh: Part): Comparison[] {
  const measured = new Map(ratiosIn(fresh).map(({ name, value }) => [name, value]));
  return ratiosIn(kept).map(({ name, value, isMoreBetter }) => {
    const other = measured.get(name);
    // Of rounds without a number there is no median.
    if (other === undefined || Number.isNaN(other.median))
      return { name, kept: value, fresh: null, verdict: 'missing' };
    return { name, kept: value, fresh: other, verdict: verdictOn(value, other, isMoreBetter) };
  });
}

/** The names of the rows that fail the guard: a ratio that is no longer measured is no success. */
export function failuresIn(comparisons: readonly Comparison[]): string[] {
  return comparisons
    .filter(({ verdict }) => verdict === 'worse' || verdict === 'missing')
    .map(({ name, verdict }) => `${name} (${verdict})`);
}

export function printComparisons(comparisons: readonly Comparison[]): void {
  printTable([
    ['compared with the kept results', 'kept', 'now', ''],
    ...comparisons.map(({ name, kept, fresh, verdict }) => [
      name,
      spreadText(kept, 2),
      fresh === null ? '' : spreadText(fresh, 2),
      verdict,
    ]),
  ]);
}

/** The rounds of both runs show the noise: beyond it, their quartiles lie apart. */
function verdictOn(kept: Spread, fresh: Spread, isMoreBetter: boolean): Verdict {
  const smallest = Math.max(SMALLEST_SHARE * kept.median, SMALLEST);
  if (Math.abs(fresh.median - kept.median) <= smallest) return 'same';
  if (fresh.high < kept.low) return isMoreBetter ? 'worse' : 'better';
  if (fresh.low > kept.high) return isMoreBetter ? 'better' : 'worse';
  return 'same';
}

/** The ratios with a target, and those to the standards; some are both. */
function ratiosIn(part: Part): Ratio[] {
  const ours = Object.keys(part.samples).filter((contestant) => OURS.test(contestant));
  const shares = (part.standards ?? []).flatMap((standard) =>
    ours.map((contestant) =>
      judge(part.samples, { metric: 'cpuMicros', ours: standard, theirs: contestant, atLeast: 0 }),
    ),
  );
  const ratios = new Map<string, Ratio>();
  for (const target of [...part.targets.filter(isRatio), ...shares]) {
    const name = targetName(part, target);
    ratios.set(name, { name, value: target.value, isMoreBetter: target.atLeast !== undefined });
  }
  return [...ratios.values()];
}

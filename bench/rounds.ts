/** How long each part takes. Quick is for seeing that the bench works: its numbers are rough. */
export interface Effort {
  /** Parts with sizes of their own choose them by this. */
  isQuick: boolean;
  rounds: number;
  coreMs: number;
  /** More of them than elsewhere, and shorter: ratios near 1 are judged. */
  httpRounds: number;
  httpMs: number;
  importRounds: number;
  users: number;
}

/** What one contestant did in one round: numbers by the name of what they measure. */
export type Sample<Metric extends string = string> = Record<Metric, number>;

/** The samples of each contestant, in order of the rounds. */
export type Samples = Record<string, Sample[]>;

/**
 * Measures all contestants by turns, A B C, C B A, A B C …: a machine that is slower for a while is so for all of them,
 * and one that becomes slower by and by, or what a contestant leaves behind for the next, favours none.
 *
 * @param warmUp whether a first round counts for nothing, in which V8 compiles and connections open.
 */
export async function interleave(
  contestants: readonly string[],
  { rounds, warmUp }: { rounds: number; warmUp: boolean },
  measure: (contestant: string) => Promise<Sample>,
): Promise<Samples> {
  if (warmUp) for (const contestant of contestants) await measure(contestant);
  const samples: Samples = Object.fromEntries(contestants.map((contestant) => [contestant, []]));
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? contestants : contestants.toReversed();
    for (const contestant of order) samples[contestant]?.push(await measure(contestant));
  }
  return samples;
}

export interface Spread {
  median: number;
  min: number;
  max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.ceil((sorted.length - 1) / 2)]];
  return {
    median: middle.reduce((sum: number, value = Number.NaN) => sum + value / 2, 0),
    min: sorted[0] ?? Number.NaN,
    max: sorted.at(-1) ?? Number.NaN,
  };
}

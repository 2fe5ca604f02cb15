/** The length of each part. A quick run shows that the bench works: its numbers are rough. */
export interface Effort {
  /** Selects the sizes of parts that have their own. */
  isQuick: boolean;
  /** Measured rounds of bursts, and warm-up rounds, in which V8 compiles. */
  bursts: { rounds: number; warmUps: number };
  burstMs: number;
  /** Rounds of the parts with long rounds. */
  rounds: number;
  importRounds: number;
  users: number;
  /** The most sessions in one Redis. */
  sessions: number;
}

/** The results of one contestant in one round: numbers by metric. */
export type Sample<Metric extends string = string> = Record<Metric, number>;

/** The samples of each contestant, in order of the rounds. */
export type Samples = Record<string, Sample[]>;

/**
 * Measures all contestants in turn, each round in another order: a slow phase of the machine affects all of them, and
 * no one profits from its predecessor.
 *
 * @param warmUps rounds at the start that do not count.
 */
export async function interleave(
  contestants: readonly string[],
  { rounds, warmUps }: { rounds: number; warmUps: number },
  measure: (contestant: string) => Promise<Sample>,
): Promise<Samples> {
  const samples: Samples = Object.fromEntries(contestants.map((contestant) => [contestant, []]));
  for (let round = 0; round < warmUps + rounds; round++) {
    for (const contestant of inTurn(contestants, round)) {
      const sample = await measure(contestant);
      if (round >= warmUps) samples[contestant]?.push(sample);
    }
  }
  return samples;
}

/** Each contestant starts in its turn, and follows another one every other time. */
function inTurn(contestants: readonly string[], round: number): readonly string[] {
  const first = Math.floor(round / 2) % contestants.length;
  const order = [...contestants.slice(first), ...contestants.slice(0, first)];
  return round % 2 === 0 ? order : order.toReversed();
}

/** A median with its quartiles. */
export interface Spread {
  median: number;
  low: number;
  high: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const [below = Number.NaN, above = Number.NaN] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
    return below + (above - below) * (place - Math.floor(place));
  };
  return { median: at(0.5), low: at(0.25), high: at(0.75) };
}

/** The length of each part. A quick run shows that the bench works: its numbers are rough. */
export interface Effort {
  /** Selects the sizes of parts that have their own. */
  isQuick: boolean;
  bursts: Bursts;
  /** As `warmUps` of the bursts, over HTTP: a server of one connection has all its code compiled after 14 bursts. */
  httpWarmUps: number;
  burstMs: number;
  /** Rounds of the parts with long rounds. */
  rounds: number;
  importRounds: number;
  users: number;
  /** The most sessions in one Redis. */
  sessions: number;
}

interface Bursts {
  /** Measured rounds: a multiple of `processes`. */
  rounds: number;
  /** Rounds before them that do not count, in which V8 compiles. Each process has them. */
  warmUps: number;
  /** Processes of a contestant, one after another, where {@link interleaveAfresh} measures; other parts have one. */
  processes: number;
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
 * @param earlier measured rounds before these: the orders go on from theirs.
 */
export async function interleave(
  contestants: readonly string[],
  { rounds, warmUps }: Pick<Bursts, 'rounds' | 'warmUps'>,
  measure: (contestant: string) => Promise<Sample>,
  earlier = 0,
): Promise<Samples> {
  const samples: Samples = Object.fromEntries(contestants.map((contestant) => [contestant, []]));
  for (let round = 0; round < warmUps + rounds; round++) {
    for (const contestant of inTurn(contestants, earlier + round)) {
      const sample = await measure(contestant);
      if (round >= warmUps) samples[contestant]?.push(sample);
    }
  }
  return samples;
}

/** Contestants whose processes run. */
interface Running {
  measure(contestant: string): Promise<Sample>;
  /** Is called after the rounds. Fails where a contestant does not do what it should. */
  check?(): Promise<void>;
  stop(): Promise<unknown>;
}

/**
 * {@link interleave}, with fresh processes after a part of the rounds. V8 compiles a program differently in each
 * process, so that the rounds of one process differ less than two runs do.
 *
 * @param start starts a process of each contestant.
 */
export async function interleaveAfresh(
  contestants: readonly string[],
  { rounds, warmUps, processes }: Bursts,
  start: () => Promise<Running>,
): Promise<Samples> {
  const samples: Samples = Object.fromEntries(contestants.map((contestant) => [contestant, []]));
  const share = rounds / processes;
  for (let earlier = 0; earlier < rounds; earlier += share) {
    const running = await start();
    try {
      const more = await interleave(contestants, { rounds: share, warmUps }, running.measure, earlier);
      await running.check?.();
      for (const contestant of contestants) samples[contestant]?.push(...(more[contestant] ?? []));
    } finally {
      await running.stop();
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

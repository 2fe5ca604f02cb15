export type Operation =
  | 'login'
  | 'check'
  | 'touch'
  | 'refresh'
  | 'list'
  | 'rotate'
  | 'reuse'
  | 'logout'
  | 'kick one'
  | 'kick others'
  | 'kick all'
  | "check of others' tokens"
  | 'watch'
  | 'data set'
  | 'data increment'
  | 'data read'
  | 'visit'
  | 'visit write'
  | 'visit read'
  | 'visit login'
  | 'health';

/** The results of calls of one kind: `done`, or the code of their error. */
export type Outcomes = Record<string, number>;

export type Tally = Partial<Record<Operation, Outcomes>>;

export function count(tally: Tally, operation: Operation, outcome: string): void {
  const outcomes = tally[operation] ?? {};
  tally[operation] = outcomes;
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}

/** The sum of several processes' tallies. */
export function sumOf(tallies: readonly Tally[]): Tally {
  const sum: Tally = {};
  for (const tally of tallies) {
    for (const [operation, outcomes] of Object.entries(tally) as [Operation, Outcomes][]) {
      const into = sum[operation] ?? {};
      sum[operation] = into;
      for (const [outcome, number] of Object.entries(outcomes)) into[outcome] = (into[outcome] ?? 0) + number;
    }
  }
  return sum;
}

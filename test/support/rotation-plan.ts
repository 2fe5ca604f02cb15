import { Random } from './rotation-random';

/** In milliseconds, as all durations here. */
export const GRACE = 10_000;

/** How long a request is on its way to the service, how long the service takes until it rotates, and how long the answer is on its way. */
export interface Trip {
  out: number;
  work: number;
  back: number;
  isLost: boolean;
}

/** What the owner's browser asks for: a `check` reads the session without using it. */
export type OwnerAct = 'touch' | 'check' | 'rotate' | 'prove';

/** What the thief does with a token: `take` rotates it and keeps the child. */
export type ThiefAct = 'use' | 'take' | 'check';

export interface OwnerStep {
  at: number;
  act: OwnerAct;
  trip: Trip;
}

export interface ThiefStep {
  at: number;
  act: ThiefAct;
  /** Which of the tokens: the newest, the one stolen, or the one that this number chooses. */
  of: 'newest' | 'stolen' | number;
}

/** What happens in a history, as far as it depends on nobody's answers. */
export interface RotationPlan {
  seed: number;
  /** Seconds, for the manager's option. */
  rotateEvery: number | undefined;
  /** Whether answers with a new token reach the browser in the order in which the tokens were made. */
  isOrderly: boolean;
  owner: OwnerStep[];
  thief: { stealsAt: number; isLatest: boolean; steps: ThiefStep[] } | null;
  /** A failover that loses all writes since `from`. */
  rollback: { from: number; at: number } | null;
}

export interface PlanLimits {
  steps: number;
  longestGap: number;
}

const HOUR = 3_600_000;

/** The plan that a seed determines. */
export function planOf(seed: number, { steps, longestGap }: PlanLimits): RotationPlan {
  const random = new Random(seed);
  const trip = trips(random);
  const actOf = acts(random);
  const owner: OwnerStep[] = [];
  let at = 0;
  for (let left = Math.ceil(random.between(steps / 3, steps)); left > 0; left--) {
    at += gap(random, longestGap);
    // Several tabs at once, or one.
    for (let tabs = random.chance(0.3) ? random.between(1, 4) : 1; tabs >= 1; tabs--) {
      owner.push({ at: at + random.between(0, 100), act: actOf(), trip: trip() });
    }
  }
  const rollback = random.chance(0.4) ? rollbackIn(random, at) : null;
  return {
    seed,
    rotateEvery: random.pick([undefined, undefined, 30, 300]),
    isOrderly: random.chance(0.5),
    owner: owner.sort((a, b) => a.at - b.at),
    thief: random.chance(0.5) ? theftIn(random, at, longestGap) : null,
    rollback,
  };
}

/** Mostly within a moment; at times as long as a grace, or longer. */
function gap(random: Random, longest: number): number {
  const kind = random.fraction();
  if (kind < 0.45) return random.between(0, 500);
  if (kind < 0.75) return random.between(500, 1.5 * GRACE);
  return Math.min(longest, random.between(0.5 * GRACE, 2 ** random.between(14, 20)));
}

function acts(random: Random): () => OwnerAct {
  const rotations = random.pick([0.03, 0.15, 0.4]);
  const proofs = random.pick([0, 0.1]);
  const checks = random.pick([0, 0, 0.1]);
  return () => {
    if (random.chance(rotations)) return 'rotate';
    if (random.chance(proofs)) return 'prove';
    return random.chance(checks) ? 'check' : 'touch';
  };
}

/** A network whose slow trips stay below the grace, or now and then do not. */
function trips(random: Random): () => Trip {
  const loss = random.pick([0, 0.1, 0.3]);
  const slow = random.pick([0, 0.1, 0.4]);
  const late = random.pick([0, 0, 0.05]);
  return () => {
    let total = random.between(20, 400);
    if (random.chance(slow)) total = random.chance(0.3) ? random.between(0.9, 0.999) * GRACE : random.between(0.1, 1) * GRACE;
    if (random.chance(late)) total = random.between(1, 3) * GRACE;
    const [out, work, back] = [random.fraction(), random.fraction() ** 2, random.fraction()];
    const unit = total / (out + work + back);
    return { out: out * unit, work: work * unit, back: back * unit, isLost: random.chance(loss) };
  };
}

function rollbackIn(random: Random, length: number): { from: number; at: number } {
  const at = random.between(0, length);
  return { from: Math.max(0, at - 2 ** random.between(6, 15)), at };
}

/** A thief of some kind: one who rotates at once, one who takes in advance, one who waits, one who comes again and again. */
function theftIn(random: Random, length: number, longestGap: number): NonNullable<RotationPlan['thief']> {
  const stealsAt = random.between(0, 0.8 * length);
  const kind = random.pick(['eager', 'hoarder', 'shadow', 'poller', 'any']);
  const steps: ThiefStep[] = [];
  const period = random.between(0.1, 0.95) * GRACE;
  let at = stealsAt + (random.chance(0.5) ? 0 : gap(random, longestGap));
  for (let left = Math.ceil(random.between(2, 25)); left > 0; left--) {
    const which = random.pick(['newest', 'stolen', Math.floor(random.between(0, HOUR))] as const);
    if (kind === 'eager') steps.push({ at, act: 'take', of: 'newest' }, { at: at + 100, act: 'use', of: 'newest' });
    if (kind === 'hoarder') steps.push({ at, act: left > 3 ? 'take' : 'use', of: left > 3 ? 'stolen' : which });
    if (kind === 'shadow') steps.push({ at, act: random.chance(0.8) ? 'use' : 'check', of: 'stolen' });
    if (kind === 'poller') steps.push({ at, act: random.chance(0.7) ? 'take' : 'use', of: which });
    if (kind === 'any') steps.push({ at, act: random.pick(['use', 'take', 'check']), of: which });
    at += kind === 'poller' ? period : gap(random, longestGap);
  }
  return { stealsAt, isLatest: random.chance(0.7), steps };
}

import fc from 'fast-check';

/** A request of the owner's browser and its answer. Times are in tenths of the grace. */
export interface Exchange {
  at: number;
  kind: 'use' | 'rotate' | 'reauthenticate';
  /** The travel time of the request to the server, and of the response back. */
  there: number;
  back: number;
  isAnswerLost: boolean;
}

/** The thief's use of one of their tokens: a request, or a rotation in advance. */
export interface ThiefStep {
  at: number;
  kind: 'use' | 'rotate';
  token: number;
}

/** The history of one session. */
export interface History {
  exchanges: Exchange[];
  /** When the thief copies the token in the owner's cookie jar, and the thief's later steps. */
  theft: { at: number; steps: ThiefStep[]; lastToken: number } | null;
  /** A failover at `to`, to a server that has missed all changes to the record since `from`. */
  failover: { from: number; to: number } | null;
}

const HORIZON = 60;
const time = fc.nat({ max: HORIZON });
const delay = fc.oneof(
  { weight: 12, arbitrary: fc.nat({ max: 2 }) },
  { weight: 4, arbitrary: fc.nat({ max: 8 }) },
  { weight: 1, arbitrary: fc.nat({ max: 30 }) },
);

const exchange = fc.record<Exchange>({
  at: time,
  kind: fc.constantFrom('use', 'use', 'rotate', 'rotate', 'reauthenticate'),
  there: delay,
  back: delay,
  isAnswerLost: fc.constantFrom(false, false, false, true),
});

const theft = fc
  .tuple(time, fc.array(fc.tuple(time, fc.constantFrom('use', 'rotate'), fc.nat(9)), { maxLength: 8 }), fc.nat(9))
  .map(([at, steps, lastToken]) => ({
    at,
    steps: steps.map(([after, kind, token]): ThiefStep => ({ at: at + after, kind, token })),
    lastToken,
  }));

const failover = fc.tuple(time, time).map(([from, lag]) => ({ from, to: from + lag }));

/** Histories with a thief or without. */
export function histories({ isStolen }: { isStolen: boolean }): fc.Arbitrary<History> {
  return fc.record({
    exchanges: fc.array(exchange, { minLength: 1, maxLength: 16, size: 'max' }),
    theft: isStolen ? theft : fc.constant(null),
    failover: fc.option(failover, { nil: null }),
  });
}

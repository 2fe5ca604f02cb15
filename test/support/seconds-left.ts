/** What a busy machine may take between two calls. */
const LATE_SECONDS = 10;

/** Matches the `ttl` of a session that had this many seconds left at its last slide, a moment ago. */
export function secondsLeft(seconds: number): number {
  const matches = (ttl: unknown) => typeof ttl === 'number' && ttl <= seconds && ttl >= seconds - LATE_SECONDS;
  const matcher = {
    $$typeof: Symbol.for('jest.asymmetricMatcher'),
    asymmetricMatch: matches,
    toString: () => 'secondsLeft',
    toAsymmetricMatcher: () => `secondsLeft<${seconds - LATE_SECONDS} to ${seconds}>`,
  };
  return matcher as unknown as number;
}

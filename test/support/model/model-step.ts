import { inspect } from 'node:util';
import fc from 'fast-check';
import type { ReusePolicy, TokenClaims } from 'tokensession';
import type { Absence, ManagerRules, ModelEvent, ModelSession, ModelToken, SessionModel } from './session-model';
import type { IssuedToken, Outcome, SessionWorld } from './session-world';

/** One call of a sequence, made on the real store and on the model, and compared. */
export type Step = fc.AsyncCommand<SessionModel, SessionWorld>;

export const USERS = ['ada', 'grace', 'two\nlines {and} a \0'] as const;

export const manager = fc.nat({ max: 1 });
export const user = fc.constantFrom(...USERS);
/** An index into the issued tokens: the newest, the one before it, and so on. */
export const tokenIndex = fc.oneof({ weight: 3, arbitrary: fc.nat({ max: 3 }) }, fc.nat({ max: 20 }));
export const seconds = fc.constantFrom(1, 2, 3, 3600, 100_000);

export function step(name: string, args: unknown, run: Step['run']): Step {
  const shown = inspect(args, { breakLength: Number.POSITIVE_INFINITY, depth: 5 });
  return { check: () => true, run, toString: () => `\n  ${name}(${shown.slice(1, -1).trim()})` };
}

/** A step that needs a token. */
export function tokenStep<Args extends { token: number }>(
  name: string,
  args: Args,
  run: (model: SessionModel, world: SessionWorld, issued: IssuedToken) => Promise<void>,
): Step {
  return step(name, args, async (model, world) => {
    const issued = tokenOf(world, args.token);
    if (issued !== undefined) await run(model, world, issued);
  });
}

/** Counts from the newest, and wraps around. */
export function tokenOf({ tokens }: SessionWorld, which: number): IssuedToken | undefined {
  return tokens[tokens.length - 1 - (which % tokens.length)];
}

export function rulesOf(world: SessionWorld, index: number): ManagerRules {
  return world.rules[index] as ManagerRules;
}

export function policyOf({ rotationGrace, onReuse }: ManagerRules): ReusePolicy {
  return { graceMs: 1000 * rotationGrace, onReuse };
}

/** The claims of a token, as the store receives them. */
export function claimsOf({ token, id: sid, gen, mintedAt, provedAt }: IssuedToken): TokenClaims {
  return { tag: token.split('.', 1)[0] as string, sid, gen, mintedAt, provedAt };
}

export function publicView(model: SessionModel, session: ModelSession): Record<string, unknown> {
  const expiresAt = model.expiryOf(session);
  return {
    id: session.id,
    createdAt: new Date(session.createdAt),
    authenticatedAt: new Date(session.newest.provedAt),
    lastSeenAt: new Date(session.seenAt),
    expiresAt: new Date(expiresAt),
    ttl: Math.ceil((expiresAt - model.now) / 1000),
    attributes: session.attributes,
    actor: session.actor,
  };
}

/** A session as one of its tokens sees it, with the token's own proof. */
export function wholeView(model: SessionModel, session: ModelSession, by: IssuedToken): Record<string, unknown> {
  const { token, provedAt } = by;
  const user = { id: session.userId };
  const own = { token, user, authenticatedAt: new Date(provedAt), checkedAt: new Date(model.now) };
  return { ...publicView(model, session), ...own };
}

/** {@link wholeView}, for methods that also return the user info. */
export function usedView(model: SessionModel, session: ModelSession, by: IssuedToken): Record<string, unknown> {
  return { ...wholeView(model, session, by), user: userView(model, session.userId) };
}

function userView(model: SessionModel, userId: string): unknown {
  const text = model.infoOf(userId).text(model.now);
  return { id: userId, ...(text !== null && { detail: JSON.parse(text) }) };
}

export function reasonView({ reason, message }: Absence): unknown {
  return { session: null, reason, ...(message !== null && { message }) };
}

export function compareAbsence(
  world: SessionWorld,
  outcome: Outcome,
  absences: readonly [Absence, ...Absence[]],
  view: (absence: Absence) => unknown,
): void {
  const emitted = outcome.events.length;
  const seen = absences.find(({ events }) => events.length === emitted) ?? absences[0];
  compare(world, outcome, { gives: view(seen), events: seen.events });
}

/** {@link compareAbsence}, for a method of the store. */
export function compareEnded(
  world: SessionWorld,
  outcome: Outcome,
  absences: readonly [Absence, ...Absence[]],
  { userId, id: sid }: IssuedToken,
): void {
  const isKnown = ({ reason }: Absence) => reason !== 'unknown';
  const seen = absences.find((absence) => isKnown(absence) === (outcome.gives !== null)) ?? absences[0];
  const { events: _, ...ended } = seen;
  compare(world, outcome, { gives: isKnown(seen) ? { ...ended, userId, sid } : null, events: [] });
}

export function compare({ uncertaintyMs }: SessionWorld, actual: Outcome, expected: Outcome): void {
  const wanted = { ...expected, events: sorted(expected.events) };
  expect(aligned({ ...actual, events: sorted(actual.events) }, wanted, uncertaintyMs)).toEqual(wanted);
}

/** Compares a new token with its expected claims; times may differ by the uncertainty of the clock. */
export function compareToken(
  world: SessionWorld,
  index: number,
  { token, ...said }: IssuedToken,
  expected: ModelToken,
): void {
  expect(token).toBe(world.signed(index, said));
  expect([said.userId, said.id, said.gen]).toEqual([expected.userId, expected.id, expected.gen]);
  for (const name of ['mintedAt', 'provedAt'] as const) {
    expect(Math.abs(said[name] - expected[name])).toBeLessThanOrEqual(world.uncertaintyMs);
  }
}

/** Sorted: the sessions that one call ends have no order. */
function sorted(events: readonly ModelEvent[]): unknown[] {
  const plain = events.map(([name, event]) => {
    return 'sessionIds' in event ? [name, { ...event, sessionIds: event.sessionIds.toSorted() }] : [name, event];
  });
  return plain.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

/** The actual value, with each time that is close enough replaced by the expected one. */
function aligned(actual: unknown, expected: unknown, uncertaintyMs: number): unknown {
  if (actual instanceof Date && expected instanceof Date) {
    return Math.abs(actual.getTime() - expected.getTime()) <= uncertaintyMs ? expected : actual;
  }
  if (Array.isArray(actual) && Array.isArray(expected)) {
    return actual.map((item, index) => aligned(item, expected[index], uncertaintyMs));
  }
  if (typeof actual !== 'object' || actual === null || actual instanceof Date) return actual;
  if (typeof expected !== 'object' || expected === null) return actual;
  const pairs = Object.entries(actual).map(([name, value]) => {
    const wanted: unknown = (expected as Record<string, unknown>)[name];
    const isAsGood = name === 'ttl' && uncertaintyMs > 0 && Math.abs(Number(value) - Number(wanted)) <= 1;
    return [name, isAsGood ? wanted : aligned(value, wanted, uncertaintyMs)];
  });
  return Object.fromEntries(pairs);
}

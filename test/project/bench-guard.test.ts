import { compareRatios, failuresIn, hasRatios } from '../../bench/guard';
import { judge, judgeValue, type Part } from '../../bench/report';
import type { Samples } from '../../bench/rounds';

/** A part of made-up rounds: CPU microseconds by contestant. */
function partOf(cpu: Record<string, number[]>, standards: string[] = ['bare']): Part {
  const samples: Samples = Object.fromEntries(
    Object.entries(cpu).map(([name, rounds]) => [name, rounds.map((cpuMicros) => ({ cpuMicros }))]),
  );
  return {
    title: 'A part: made up',
    metrics: [{ name: 'cpuMicros', label: 'µs', digits: 1 }],
    samples,
    standards,
    targets: [],
  };
}

const KEPT = { bare: [10, 10, 10, 10, 10], tokensession: [19, 20, 20, 20, 21], 'koa-session': [40, 40, 40, 40, 40] };

const verdictsOn = (fresh: Record<string, number[]>) =>
  compareRatios(partOf(KEPT), partOf(fresh)).map(({ name, verdict }) => [name, verdict]);

test('a run like the kept one passes, and one within its noise', () => {
  expect(verdictsOn(KEPT)).toEqual([['µs: bare / tokensession', 'same']]);
  expect(verdictsOn({ ...KEPT, tokensession: [17, 20, 22, 23, 26] })).toEqual([['µs: bare / tokensession', 'same']]);
});

test('a whole run on a machine half as fast passes', () => {
  const slow = Object.fromEntries(Object.entries(KEPT).map(([name, rounds]) => [name, rounds.map((x) => 2 * x)]));
  expect(verdictsOn(slow)).toEqual([['µs: bare / tokensession', 'same']]);
});

test('a ratio beyond the quartiles of both runs fails, by name', () => {
  const comparisons = compareRatios(partOf(KEPT), partOf({ ...KEPT, tokensession: [24, 25, 25, 25, 26] }));
  expect(failuresIn(comparisons)).toEqual(['µs: bare / tokensession (worse)']);
});

test('a better ratio passes', () => {
  const comparisons = compareRatios(partOf(KEPT), partOf({ ...KEPT, tokensession: [14, 15, 15, 15, 16] }));
  expect(comparisons.map(({ verdict }) => verdict)).toEqual(['better']);
  expect(failuresIn(comparisons)).toEqual([]);
});

test('ratios that always come out alike may differ by two percent', () => {
  const [kept, near, far] = [20, 20.3, 20.6].map((cpuMicros) =>
    partOf({ bare: [10, 10], tokensession: [cpuMicros, cpuMicros] }),
  );
  expect(failuresIn(compareRatios(kept as Part, near as Part))).toEqual([]);
  expect(failuresIn(compareRatios(kept as Part, far as Part))).toHaveLength(1);
});

test('a ratio that is to be low fails when it rises, and passes when it falls', () => {
  const bytes = (ours: number): Part => {
    const part = partOf({ tokensession: [ours, ours], 'connect-redis': [300, 300] }, []);
    const contestants = { metric: 'cpuMicros', ours: 'tokensession', theirs: 'connect-redis' };
    return { ...part, targets: [judge(part.samples, { ...contestants, atMost: 1 })] };
  };
  expect(failuresIn(compareRatios(bytes(120), bytes(150)))).toEqual(['µs: tokensession / connect-redis (worse)']);
  expect(failuresIn(compareRatios(bytes(120), bytes(100)))).toEqual([]);
});

test('a ratio that is no longer measured fails', () => {
  const { tokensession: _, ...others } = KEPT;
  expect(failuresIn(compareRatios(partOf(KEPT), partOf(others)))).toEqual(['µs: bare / tokensession (missing)']);
});

test('a contestant that lost rounds fails', () => {
  const comparisons = compareRatios(partOf(KEPT), partOf({ ...KEPT, tokensession: [20, 20] }));
  expect(failuresIn(comparisons)).toEqual(['µs: bare / tokensession (missing)']);
});

test('another package that became slower is not our failure', () => {
  expect(verdictsOn({ ...KEPT, 'koa-session': [80, 80, 80, 80, 80] })).toEqual([['µs: bare / tokensession', 'same']]);
});

test('a time alone is not compared', () => {
  const part = partOf({ 'checkToken, cached': [2, 2] }, []);
  const timed = {
    ...part,
    targets: [judgeValue(part.samples, { metric: 'cpuMicros', of: 'checkToken, cached', atMost: 2 })],
  };
  expect(hasRatios(timed)).toBe(false);
  expect(hasRatios(partOf(KEPT))).toBe(true);
});

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pageText, ROOT } from '../support/doc-pages';
import { testNames } from '../support/test-names';

/** All of OWASP ASVS 5.0.0, V7 Session Management. */
const SESSION_MANAGEMENT = [
  ...['7.1.1', '7.1.2', '7.1.3', '7.2.1', '7.2.2', '7.2.3', '7.2.4', '7.3.1', '7.3.2', '7.4.1', '7.4.2', '7.4.3'],
  ...['7.4.4', '7.4.5', '7.5.1', '7.5.2', '7.5.3', '7.6.1', '7.6.2'],
];

/** States that need a test, and states in which the library does nothing. */
const CLAIMS = ['yes', 'part'];
const NO_CLAIMS = ['application', 'no'];

const TEST = join(ROOT, 'test');

/** The tests of each file, by its path in `test`, with all their names. */
type Tests = ReadonlyMap<string, readonly (readonly string[])[]>;

const TESTS: Tests = new Map(
  (readdirSync(TEST, { recursive: true }) as string[])
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => [file, testNames(readFileSync(join(TEST, file), 'utf8'))]),
);

it('each requirement that docs/security.md claims to meet names tests that exist', () => {
  expect(problemsIn(pageText('docs/security.md'), TESTS)).toEqual([]);
});

describe('a table', () => {
  const tests: Tests = new Map([
    ['a/cookie.test.ts', testNames(`describe('a cookie', () => { it('is cleared', f); it('is [set]', f) })`)],
    ['twins.test.ts', testNames(`it('is cleared', f); it('is cleared', f)`)],
  ]);
  const good = '| 7.1.1 | 2 | asked | yes | done | [a cookie is cleared](../test/a/cookie.test.ts) |';
  const problems = (...rows: string[]) => problemsIn(rows.join('\n'), tests, ['7.1.1']);

  it('whose rows name existing tests has no problem', () => {
    const two = '[is cleared](../test/a/cookie.test.ts)<br>[is \\[set\\]](../test/a/cookie.test.ts)';
    expect(problems(good, `| 7.2.1 | 1 | asked \\| given | part | done | ${two} |`)).toEqual([]);
    expect(problems(good, '| 7.10.1 | 1 | asked | application | left to you |  |')).toEqual([]);
  });

  it.each([
    ['7.1.1: there is no test called "a cookie is baked" in a/cookie.test.ts', good.replace('cleared', 'baked')],
    [
      '7.1.1: there is no test called "a cookie is cleared" in a/cake.test.ts, but in a/cookie.test.ts',
      good.replace('/a/cookie', '/a/cake'),
    ],
    [
      '7.1.1: there are 2 tests called "is cleared" in twins.test.ts',
      good.replace(/\[.*\)/, '[is cleared](../test/twins.test.ts)'),
    ],
    ['7.1.1: names no test', good.replace(/\[.*\)/, '')],
    ['7.1.1: has more than links to tests in its last column', good.replace(') |', '), and more |')],
    ['7.1.1: has more than links to tests in its last column', good.replace('../test/', 'test/')],
    ['7.1.1: says "maybe"', good.replace('yes', 'maybe')],
    ['7.1.1: names tests for what it leaves to others', good.replace('yes', 'application')],
    ['7.2: is not how ASVS numbers a requirement', `${good}\n${good.replace('7.1.1', '7.2')}`],
    ['7.1.1: has 5 columns', good.replace('| asked ', '')],
    ['7.1.1: stands behind 7.1.1', `${good}\n${good}`],
    ['7.1.1: stands behind 7.1.10', `${good.replace('7.1.1', '7.1.10')}\n${good}`],
    ['7.1.1: is missing', good.replace('7.1.1', '7.1.2')],
  ])('has a problem: %s', (problem, rows) => {
    expect(problems(rows)).toEqual([problem]);
  });
});

it('finds the tests in a source, by title and by the describes around them', () => {
  // Assembled, so that a search for skipped tests does not find these.
  const [SKIP, TODO] = ['skip', 'todo'];
  const source = `
    // it('in a comment', f)
    describe.each([['a'], ['b']])('%s', (it_) => {
      describe("the 'cookie'", () => {
        it.each<[string]>([
          ['it(\\'in a table\\', f)'],
        ])('goes with %s', async () => { it_('of another name') });
        it.each\`x\`(\`goes\`, f);
      });
      it.${SKIP}('skipped', f);
      it.${TODO}('to do');
      describe.${SKIP}('skipped', () => { it('inside', f) });
      it(\`put \${together}\`, f);
    });
    for (const x of y) it('in a loop', f);
  `;
  expect(testNames(source)).toEqual([
    ['goes with %s', "the 'cookie' goes with %s", "%s the 'cookie' goes with %s"],
    ['goes', "the 'cookie' goes", "%s the 'cookie' goes"],
    ['in a loop'],
  ]);
  expect(TESTS.get('docs/security-doc.test.ts')).toHaveLength(4);
});

/** The problems of the table of requirements, a sentence each. */
function problemsIn(page: string, tests: Tests, required = SESSION_MANAGEMENT): string[] {
  const rows = page.split('\n').flatMap((line) => {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    return /^V?\d[\d.]*$/.test(cells[1] ?? '') ? [cells.slice(1, -1)] : [];
  });
  const ids = rows.map(([id]) => id as string);
  return [
    ...rows.flatMap((cells) => problemsOfRow(cells, tests).map((problem) => `${cells[0]}: ${problem}`)),
    ...ids.flatMap((id, i) =>
      i > 0 && !isBefore(ids[i - 1] as string, id) ? `${id}: stands behind ${ids[i - 1]}` : [],
    ),
    ...required.filter((id) => !ids.includes(id)).map((id) => `${id}: is missing`),
  ];
}

function problemsOfRow(cells: string[], tests: Tests): string[] {
  const [id = '', , , state = '', , shownBy = ''] = cells;
  if (!/^\d+\.\d+\.\d+$/.test(id)) return ['is not how ASVS numbers a requirement'];
  if (cells.length !== 6) return [`has ${cells.length} columns`];
  if (NO_CLAIMS.includes(state)) return shownBy === '' ? [] : ['names tests for what it leaves to others'];
  if (!CLAIMS.includes(state)) return [`says "${state}"`];
  if (shownBy === '') return ['names no test'];

  const named = [...shownBy.matchAll(/\[((?:\\.|[^\\\]])*)\]\((?:\.\.\/test\/)?([^)]*)\)/g)].map(
    ([, text = '', file = '']) => ({
      title: text.replace(/\\(.)/g, '$1'),
      file,
    }),
  );
  if (shownBy !== named.map(linkTo).join('<br>')) return ['has more than links to tests in its last column'];
  return named.flatMap(({ title, file }) => {
    const calledSo = (names: readonly string[]) => names.includes(title);
    const found = tests.get(file)?.filter(calledSo).length ?? 0;
    if (found === 1) return [];
    if (found > 1) return `there are ${found} tests called "${title}" in ${file}`;
    const elsewhere = [...tests.keys()].filter((other) => tests.get(other)?.some(calledSo));
    return `there is no test called "${title}" in ${file}${elsewhere.map((other) => `, but in ${other}`).join('')}`;
  });
}

/** A link as it is written in the table: Markdown characters in the title are escaped. */
function linkTo({ title, file }: { title: string; file: string }): string {
  return `[${title.replace(/[\\[\]|*<`]/g, '\\$&')}](../test/${file})`;
}

/** Whether a requirement comes before another: 7.2.1 does before 7.10.1. */
function isBefore(id: string, other: string): boolean {
  return id.localeCompare(other, 'en', { numeric: true }) < 0;
}

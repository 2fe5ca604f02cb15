import type { Machine } from './machine';
import { sampleRows, seriesRows, targetRows, valuesOf } from './report';
import type { Result, Results } from './results';
import { spreadOf } from './rounds';

const BLOCK = /(<!-- results: (\S+) -->\n)[\s\S]*?(<!-- \/results -->)/g;

/**
 * Fills the text between `<!-- results: … -->` and `<!-- /results -->`: for the name of a part, its tables and notes;
 * for `machine`, the environment; for `targets`, the targets of all parts; for `summary`, one number of the main parts.
 */
export function fillTables(markdown: string, results: Results): string {
  return markdown.replace(
    BLOCK,
    (_, begin: string, name: string, end: string) => `${begin}\n${blockOf(name, results)}\n${end}`,
  );
}

function blockOf(name: string, results: Results): string {
  if (name === 'machine') return machines(results);
  if (name === 'targets') return targets(results);
  if (name === 'summary') return summary(results);
  const result = results[name];
  if (result === undefined) return 'Not measured.\n';
  const { title, series = [], notes = [] } = result;
  const sections = [
    `${title}:\n\n${table(sampleRows(result))}`,
    ...series.map((one) => `${one.title}, ${one.y.label}:\n\n${table(seriesRows(one))}`),
    ...(notes.length === 0 ? [] : [notes.map((note) => `- ${note}\n`).join('')]),
  ];
  return sections.join('\n');
}

function targets(results: Results): string {
  const rows = Object.values(results).flatMap((result) => targetRows(result).map((row) => [partOf(result), ...row]));
  return table([['', '', 'median', 'wanted', ''], ...rows], 2);
}

/** A row of the summary: a metric of a part, of ours, of ours from memory, and of the package that it can replace. */
interface SummaryRow {
  title: string;
  part: string;
  metric: string;
  digits: number;
  contestants: [ours: string, cached: string | null, other: string];
  other: string;
}

const SUMMARY: readonly SummaryRow[] = [
  {
    title: 'Express 5: CPU of a request, µs',
    part: 'express',
    metric: 'cpuMicros',
    digits: 0,
    contestants: ['tokensession', 'tokensession, cached', 'express-session'],
    other: 'express-session, rolling',
  },
  {
    title: 'Koa 3: CPU of a request, µs',
    part: 'koa',
    metric: 'cpuMicros',
    digits: 0,
    contestants: ['tokensession', 'tokensession, cached', 'koa-session'],
    other: 'koa-session, rolling',
  },
  {
    title: 'CPU of a check alone, 16 in flight, µs',
    part: 'core',
    metric: 'cpuMicros',
    digits: 1,
    contestants: ['checkToken, 16 in flight', 'checkToken, cached', 'redis-sessions get, 16 in flight'],
    other: 'redis-sessions',
  },
  {
    title: 'CPU of Redis for a check that slides, µs',
    part: 'redis-side',
    metric: 'redisMicros',
    digits: 1,
    contestants: ['touchToken, saturated', 'touchToken, cached', 'connect-redis get + touch, saturated'],
    other: 'connect-redis',
  },
  {
    title: 'Memory of Redis for a session without attributes, one a user, bytes',
    part: 'memory',
    metric: 'bytes',
    digits: 0,
    contestants: ['tokensession, 1 a user', null, 'connect-redis, 1 a user'],
    other: 'connect-redis',
  },
  {
    title: 'To end all sessions of a user, among a million, ms',
    part: 'scale',
    metric: 'p50',
    digits: 1,
    contestants: ['kick all, 1,000,000 sessions', null, 'kick all, connect-redis, 1,000,000 sessions'],
    other: 'connect-redis, by a scan',
  },
];

function summary(results: Results): string {
  const rows = SUMMARY.filter(({ part }) => part in results).map(
    ({ title, part, metric, digits, contestants, other }) => {
      const [ours = '', cached = '', theirs] = contestants.map((name) => {
        if (name === null) return '';
        const { median } = spreadOf(valuesOf(results[part]?.samples[name], metric));
        return median.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
      });
      return [title, ours, cached, `${theirs} (${other})`];
    },
  );
  return table([['', 'tokensession', '`cache: true`, from memory', 'the other package'], ...rows]);
}

const partOf = ({ title }: Result) => title.split(':', 1)[0] ?? '';

/** Names the parts that were measured on other machines, or with other versions. */
function machines(results: Results): string {
  const all = Object.entries(results);
  const texts = [...new Set(all.map(([, { machine }]) => machineText(machine)))];
  return texts
    .map((text) => {
      const group = all.filter(([, { machine }]) => machineText(machine) === text);
      const days = new Set(group.map(([, { at }]) => at.slice(0, 10)));
      const commits = new Set(group.map(([, { commit }]) => commit));
      const parts = texts.length > 1 ? `${group.map(([part]) => part).join(', ')}: ` : '';
      const minutes = Math.round(group.reduce((sum, [, { seconds }]) => sum + seconds, 0) / 60);
      return `${parts}${[...days].join(', ')}, in ${minutes} minutes, at ${[...commits].join(', ')}. ${text}\n`;
    })
    .join('\n');
}

function machineText({ cpu, cores, memoryGiB, node, redis, pinned, packages }: Machine): string {
  const versions = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
  return [
    `${cpu}, ${cores} cores, ${memoryGiB} GiB; Node ${node.slice(1)}, Redis ${redis} on the same machine.`,
    pinned
      ? 'Kept on cores: in the parts over HTTP and of the core, all on one by turns; ' +
        'in parts that measure one process, that has one of its own.'
      : 'Processes were not kept on cores of their own.',
    `Packages: ${versions.join(', ')}.`,
  ].join(' ');
}

/** @param words the number of columns without numbers. */
function table([heading = [], ...rows]: string[][], words = 1): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  const alignment = heading.map((_, index) => (index < words ? '---' : '--:'));
  return [line(heading), line(alignment), ...rows.map(line)].join('');
}

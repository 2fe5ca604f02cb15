import type { Machine } from './machine';
import { sampleRows, seriesRows, targetRows } from './report';
import type { Result, Results } from './results';

const BLOCK = /(<!-- results: (\S+) -->\n)[\s\S]*?(<!-- \/results -->)/g;

/**
 * Fills the text between `<!-- results: … -->` and `<!-- /results -->`: for the name of a part, its tables and notes;
 * for `machine`, the environment; for `targets`, the targets of all parts.
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

const partOf = ({ title }: Result) => title.split(':', 1)[0] ?? '';

/** Names the parts that were measured on other machines, or with other versions. */
function machines(results: Results): string {
  const all = Object.entries(results);
  const texts = [...new Set(all.map(([, { machine }]) => machineText(machine)))];
  return texts
    .map((text) => {
      const group = all.filter(([, { machine }]) => machineText(machine) === text);
      const days = new Set(group.map(([, { at }]) => at.slice(0, 10)));
      const parts = texts.length > 1 ? `${group.map(([part]) => part).join(', ')}: ` : '';
      const minutes = Math.round(group.reduce((sum, [, { seconds }]) => sum + seconds, 0) / 60);
      return `${parts}${[...days].join(', ')}, in ${minutes} minutes. ${text}\n`;
    })
    .join('\n');
}

function machineText({ cpu, cores, memoryGiB, node, redis, pinned, packages }: Machine): string {
  const versions = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
  return [
    `${cpu}, ${cores} cores, ${memoryGiB} GiB; Node ${node.slice(1)}, Redis ${redis} on the same machine.`,
    pinned
      ? 'Kept on cores: in the parts over HTTP and of the core, all on one by turns; ' +
        'elsewhere the measured process has one of its own.'
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

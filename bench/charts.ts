/*
 * Writes the results into the documentation: charts into docs/charts, and tables into the pages below, between
 * their markers. `--quick` uses the results of a quick run, and writes to quick-docs instead.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { drawGroups, drawLogBars, drawSeries } from './drawing';
import { shareOf, valuesOf } from './report';
import { type Results, readResults } from './results';
import { spreadOf } from './rounds';
import { fillTables } from './tables';

const ROOT = join(__dirname, '..');
/** Pages with tables. */
const PAGES = ['docs/performance.md', 'docs/live.md', 'README.md'];

async function main(args: readonly string[]): Promise<void> {
  const isQuick = args.includes('--quick') || process.env.npm_config_quick === 'true';
  const results = await readResults(isQuick);
  if (Object.keys(results).length === 0) throw new Error('nothing is measured: npm run bench');
  const target = isQuick ? join(__dirname, 'quick-docs') : ROOT;
  const charts = drawAll(results);
  const folder = join(target, 'docs/charts');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [name, svg] of charts) await writeFile(join(folder, `${name}.svg`), svg);
  for (const page of PAGES) {
    await writeFile(join(target, page), fillTables(await readFile(join(ROOT, page), 'utf8'), results));
  }
}

function drawAll(results: Results): Map<string, string> {
  const charts = new Map<string, string>();
  for (const [name, hosts] of Object.entries(HOSTS)) {
    const http = drawHttp(results, hosts);
    if (http !== null) charts.set(name, http);
  }
  const core = drawCore(results);
  if (core !== null) charts.set('core', core);
  for (const [part, { series = [] }] of Object.entries(results)) {
    for (const one of series) charts.set(series.length === 1 ? part : `${part}-${slug(one.title)}`, drawSeries(one));
  }
  return charts;
}

/** The hosts of each chart. */
const HOSTS: Record<string, Record<string, string>> = {
  http: { express: 'Express 5', koa: 'Koa 3', node: 'node:http' },
  'http-others': { fastify: 'Fastify 5', hono: 'Hono 4', fetch: 'Request and Response' },
};

/** The label of each bar, and its contestants, each in its framework. */
const HTTP_BARS: [name: string, contestants: string[]][] = [
  ['floor', ['floor']],
  ['tokensession, cached', ['tokensession, cached']],
  ['tokensession', ['tokensession']],
  ['GETEX', ['GETEX']],
  ['GETEX, signed and listed', ['GETEX, signed and listed']],
  ["the host's own", ['express-session', 'koa-session', '@fastify/session', 'hono-sessions']],
  ['in the cookie', ['hono-sessions, in the cookie', 'iron-session']],
];

function drawHttp(results: Results, hosts: Record<string, string>): string | null {
  const frameworks = Object.entries(hosts).filter(([part]) => part in results);
  if (frameworks.length === 0) return null;
  return drawGroups({
    title: 'Requests of signed-in users that one core can serve',
    unit: '% of the same server without sessions, by the median of the rounds; more is better',
    groups: frameworks.map(([, title]) => title),
    bars: HTTP_BARS.map(([name, contestants]) => ({
      name,
      values: frameworks.map(([part]) => {
        const samples = results[part]?.samples ?? {};
        const contestant = contestants.find((one) => one in samples);
        if (contestant === undefined) return null;
        return shareOf(samples, 'bare', contestant).median;
      }),
    })).filter(({ values }) => values.some((value) => value !== null)),
    line: { name: 'without sessions', value: 100 },
  });
}

function drawCore({ core }: Results): string | null {
  if (core === undefined) return null;
  return drawLogBars({
    title: 'CPU time of the service for one check',
    unit: 'µs of CPU, logarithmic; less is better',
    bars: Object.entries(core.samples).map(([name, samples]) => ({
      name,
      value: spreadOf(valuesOf(samples, 'cpuMicros')).median,
    })),
  });
}

const slug = (title: string) =>
  title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});

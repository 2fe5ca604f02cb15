import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { type DebianServer, REDIS_7, REDIS_8, unpackServer, VALKEY_8, VALKEY_9 } from './debian-server';
import { ROOT } from './doc-pages';
import { nodeProgram } from './downloads';
import { failuresOf, type JestReport, runJest } from './jest-run';

/*
 * Runs the test suites on other versions of Node, of the server and of ioredis, and prints a table. Fails when a test
 * failed, or a version is not available. Needs npm, apt-get and dpkg-deb; installs nothing on the system.
 *
 *   npm run matrix                       every row
 *   npm run matrix -- 3 5 redis-store    rows 3 and 5, only suites whose paths contain `redis-store`
 *   npm run matrix -- --list             prints the rows
 *
 * The suites run on a copy of the project, so that work on it can go on. With FAKETIME=+1h the server's clock is an
 * hour ahead. With STEP_CLOCK=1 suites that let time pass step the clock of the running server. Both only work in the
 * rows with Redis 7.0: the other servers do not start with libfaketime.
 */

/** Suites that only some rows run, and patterns of their file names. */
const SOME_ROWS = {
  /** The slowest suites. */
  topologies: '(cluster|sentinel|topologies)',
  /** Suites about npm, the compiler and programs: they depend on Node, hardly on the server. */
  programs: '(package|readme|examples)',
};

interface Row {
  node: number;
  server: DebianServer;
  ioredis: 5 | 6;
  with?: keyof typeof SOME_ROWS;
}

/** Every Node and every server with either ioredis, and every Node with the programs. */
const ROWS: readonly Row[] = [
  { node: 20, server: REDIS_7, ioredis: 5, with: 'topologies' },
  { node: 20, server: VALKEY_8, ioredis: 6, with: 'programs' },
  { node: 22, server: REDIS_8, ioredis: 6, with: 'topologies' },
  { node: 22, server: VALKEY_9, ioredis: 5, with: 'programs' },
  { node: 24, server: REDIS_7, ioredis: 6, with: 'programs' },
  { node: 24, server: VALKEY_8, ioredis: 5 },
  { node: 26, server: VALKEY_9, ioredis: 6, with: 'topologies' },
  { node: 26, server: REDIS_8, ioredis: 5, with: 'programs' },
];

const TITLE =
  '| run | Node | server | ioredis | suites | passed | failed | seconds |\n|---|---|---|---|---|---|---|---|';

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { list: { type: 'boolean' } } });
  const numbers = positionals.filter((word) => /^\d+$/.test(word)).map(Number);
  const names = positionals.filter((word) => !/^\d+$/.test(word));
  const unknown = numbers.find((number) => ROWS[number - 1] === undefined);
  if (unknown !== undefined) throw new RangeError(`there is no row ${unknown}, only 1 to ${ROWS.length}`);

  const lines = [TITLE];
  const work = await mkdtemp(join(tmpdir(), 'tokensession-matrix-work-'));
  try {
    for (const [i, row] of ROWS.entries()) {
      if (numbers.length > 0 && !numbers.includes(i + 1)) continue;
      const { node, server, ioredis } = row;
      const asked = `${i + 1} | ${node} | ${server.name} ${server.version} | ${ioredis}`;
      if (values.list) {
        console.log(`${asked} | ${row.with === undefined ? '' : `with ${row.with}`}`);
        continue;
      }
      const begin = performance.now();
      const failures: string[] = [];
      try {
        const { versions, report } = await runRow(row, names, work);
        const failed = report.testResults.flatMap(failuresOf).map(({ name, message }) => `${name}\n${message}`);
        if (report.numPassedTests === 0) failed.push('no test passed');
        failures.push(...failed.map((failure) => `run ${i + 1}: ${failure.replaceAll(work, '')}`));
        const suites = `${report.testResults.length}${row.with === undefined ? '' : `, with ${row.with}`}`;
        const seconds = Math.round((performance.now() - begin) / 1000);
        const counts = `${report.numPassedTests} | ${failed.length} | ${seconds}`;
        lines.push(`| ${i + 1} | ${versions.join(' | ')} | ${suites} | ${counts} |`);
      } catch (error) {
        lines.push(`| ${asked} | none: see below | | | |`);
        failures.push(`run ${i + 1} did not take place: ${error instanceof Error ? error.message : error}`);
      }
      console.error(lines.at(-1));
      for (const failure of failures) console.error(`\n${failure}\n`);
      if (failures.length > 0) process.exitCode = 1;
    }
  } finally {
    await rm(work, { recursive: true });
  }
  if (values.list) return;
  console.log(`\n${lines.join('\n')}`);
}

async function runRow(row: Row, names: readonly string[], work: string) {
  const node = await nodeProgram(row.node);
  const { program, version } = await unpackServer(row.server);
  const root = join(work, `ioredis-${row.ioredis}`);
  const ioredis = await copyProject(root, row.ioredis);

  const left = Object.entries(SOME_ROWS).flatMap(([kind, held]) => (kind === row.with ? [] : held));
  const ignored = ['/node_modules/', ...left.map((held) => `${held}[^/]*\\.test\\.ts$`)];
  const report: JestReport = await runJest({
    root,
    outputFile: join(work, 'report.json'),
    names,
    // A failed test may leave open handles that keep Jest alive.
    args: ['--forceExit', ...ignored.map((pattern) => `--testPathIgnorePatterns=${pattern}`)],
    node,
    env: { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}`, REDIS_SERVER: program },
  });
  const { stdout } = await promisify(execFile)(node, ['--version']);
  return { report, versions: [stdout.trim().slice(1), `${row.server.name} ${version}`, ioredis] };
}

/** Copies the project once, and installs this ioredis in the copy. Returns the full version. */
async function copyProject(root: string, version: 5 | 6): Promise<string> {
  const ioredis = join(root, 'node_modules/ioredis');
  if (!existsSync(root)) {
    await cp(ROOT, root, { recursive: true, verbatimSymlinks: true, filter: (path) => path !== resolve(ROOT, '.git') });
    if (version === 5) {
      await rm(ioredis, { recursive: true });
      await symlink('ioredis5', ioredis);
    }
  }
  const found = JSON.parse(await readFile(join(ioredis, 'package.json'), 'utf8')).version as string;
  if (!found.startsWith(`${version}.`)) throw new Error(`the project has ioredis ${found}, not ${version}`);
  return found;
}

void main();

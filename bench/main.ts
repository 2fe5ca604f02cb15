/*
 * `npm run bench` in the root measures all parts, `npm run bench -- core http` these; `--quick` checks that it works.
 * Results are stored in results.json, beside those of other parts. `--sessions` bounds the sizes of the part `scale`.
 * `--guard` keeps nothing: it compares the ratios with the kept results, and fails where one has become worse.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { benchCore } from './core';
import { benchEndings } from './endings';
import { benchFleet } from './fleet';
import { compareRatios, failuresIn, hasRatios, printComparisons } from './guard';
import { benchHmac } from './hmac';
import { benchHotUser } from './hot-user';
import { benchHttp } from './http';
import { benchInstall } from './install';
import { benchLive } from './live';
import { benchLoginStorm } from './login-storm';
import { assignCpus, type CpuPlan, describeMachine } from './machine';
import { benchMemory } from './memory';
import { benchProfile } from './profile';
import { benchRedisSide } from './redis-side';
import { type Part, printMachine, printPart } from './report';
import { type Results, readResults, writeResults } from './results';
import { benchRevocation } from './revocation';
import type { Effort } from './rounds';
import { benchScale, SIZES } from './scale';
import { benchServers } from './servers';
import { benchStartup } from './startup';
import { benchUserCost } from './user-cost';

const FULL: Effort = {
  isQuick: false,
  bursts: { rounds: 30, warmUps: 6, processes: 3 },
  httpWarmUps: 20,
  burstMs: 350,
  rounds: 7,
  importRounds: 15,
  users: 20_000,
  sessions: 10_000_000,
};
const QUICK: Effort = {
  isQuick: true,
  bursts: { rounds: 6, warmUps: 4, processes: 2 },
  httpWarmUps: 4,
  burstMs: 300,
  rounds: 3,
  importRounds: 3,
  users: 2000,
  sessions: 100_000,
};

const PARTS: Record<string, (effort: Effort, cpus: CpuPlan) => Promise<Part>> = {
  core: benchCore,
  express: benchHttp('express'),
  lone: benchHttp('lone'),
  data: benchHttp('data'),
  koa: benchHttp('koa'),
  node: benchHttp('node'),
  fastify: benchHttp('fastify'),
  hono: benchHttp('hono'),
  fetch: benchHttp('fetch'),
  'redis-side': benchRedisSide,
  profile: benchProfile,
  memory: benchMemory,
  endings: benchEndings,
  'user-cost': benchUserCost,
  scale: benchScale,
  'hot-user': benchHotUser,
  'login-storm': benchLoginStorm,
  revocation: benchRevocation,
  fleet: benchFleet,
  live: benchLive,
  startup: benchStartup,
  install: benchInstall,
  // They download programs, which may fail.
  hmac: benchHmac,
  servers: benchServers,
};

/** Names for several parts. */
const GROUPS: Record<string, string[]> = {
  http: ['express', 'lone', 'data', 'koa', 'node', 'fastify', 'hono', 'fetch'],
};

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { quick: { type: 'boolean' }, guard: { type: 'boolean' }, sessions: { type: 'string' } },
  });
  // `npm start --quick`, without `--` before it, gives the option to npm, which passes it on like this.
  const isQuick = values.quick === true || process.env.npm_config_quick === 'true';
  const effort = isQuick ? QUICK : FULL;
  const sessions = values.sessions === undefined ? effort.sessions : readSessions(values.sessions);
  const kept = values.guard === true ? await readResults(isQuick) : null;
  const names = kept === null ? partsNamed(positionals) : partsToGuard(positionals, kept);
  const cpus = assignCpus();
  const machine = describeMachine(cpus);
  printMachine(machine);

  const failures: string[] = [];
  for (const name of names) {
    const began = performance.now();
    const part = await (PARTS[name] as (typeof PARTS)[string])({ ...effort, sessions }, cpus);
    const seconds = Math.round((performance.now() - began) / 1000);
    printPart(part);
    if (kept === null) {
      const result = { at: new Date().toISOString(), commit: commitHere(), seconds, machine, ...part };
      await writeResults({ ...(await readResults(isQuick)), [name]: result }, isQuick);
    } else {
      const comparisons = compareRatios(kept[name] as Part, part);
      printComparisons(comparisons);
      failures.push(...failuresIn(comparisons).map((failure) => `${name}: ${failure}`));
    }
  }
  if (failures.length > 0) throw new Error(`beyond the noise of the kept results:\n${failures.join('\n')}`);
}

/** The commit of the measured sources; with a plus sign where they differ from it. */
function commitHere(): string {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: __dirname, encoding: 'utf8' }).trim();
  return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '--', '../src') === '' ? '' : '+'}`;
}

/** Those of the named parts, or of all, that have kept ratios. */
function partsToGuard(words: readonly string[], kept: Results): string[] {
  const named = partsNamed(words);
  const names = named.filter((name) => kept[name] !== undefined && hasRatios(kept[name]));
  if (names.length === 0) throw new Error(`no ratios are kept of ${named.join(', ')}`);
  return names;
}

function readSessions(text: string): number {
  const sessions = Number(text);
  // Two sizes at least, to be compared.
  const sizes = SIZES.slice(2);
  if (!sizes.includes(sessions)) throw new RangeError(`--sessions must be one of ${sizes.join(', ')}, got ${text}`);
  return sessions;
}

function partsNamed(words: readonly string[]): string[] {
  if (words.length === 0) return Object.keys(PARTS);
  const names = words.flatMap((word) => GROUPS[word] ?? [word]);
  const unknown = names.filter((name) => !(name in PARTS));
  if (unknown.length > 0) {
    throw new Error(
      `no part ${unknown.join(', ')}; there are ${[...Object.keys(PARTS), ...Object.keys(GROUPS)].join(', ')}`,
    );
  }
  return names;
}

main(process.argv.slice(2)).then(
  // Not left to the event loop: connections of a failed part may keep it alive.
  () => process.exit(),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

/*
 * `npm run bench` in the root measures all parts, `npm run bench -- core http` these; `--quick` checks that it works.
 * Results are stored in results.json, beside those of other parts.
 */
import { benchCore } from './core';
import { benchEndings } from './endings';
import { benchHttp } from './http';
import { benchInstall } from './install';
import { benchLive } from './live';
import { assignCpus, type CpuPlan, describeMachine } from './machine';
import { benchMemory } from './memory';
import { benchRedisSide } from './redis-side';
import { type Part, printMachine, printPart } from './report';
import { readResults, writeResults } from './results';
import { benchRevocation } from './revocation';
import type { Effort } from './rounds';
import { benchScale } from './scale';
import { benchStartup } from './startup';
import { benchUserCost } from './user-cost';

const FULL: Effort = {
  isQuick: false,
  bursts: { rounds: 30, warmUps: 6 },
  burstMs: 350,
  rounds: 7,
  importRounds: 15,
  users: 20_000,
};
const QUICK: Effort = {
  isQuick: true,
  bursts: { rounds: 5, warmUps: 4 },
  burstMs: 300,
  rounds: 3,
  importRounds: 3,
  users: 2000,
};

const PARTS: Record<string, (effort: Effort, cpus: CpuPlan) => Promise<Part>> = {
  core: benchCore,
  express: benchHttp('express'),
  data: benchHttp('data'),
  koa: benchHttp('koa'),
  node: benchHttp('node'),
  fastify: benchHttp('fastify'),
  hono: benchHttp('hono'),
  fetch: benchHttp('fetch'),
  'redis-side': benchRedisSide,
  memory: benchMemory,
  endings: benchEndings,
  'user-cost': benchUserCost,
  scale: benchScale,
  revocation: benchRevocation,
  live: benchLive,
  startup: benchStartup,
  install: benchInstall,
};

/** Names for several parts. */
const GROUPS: Record<string, string[]> = { http: ['express', 'data', 'koa', 'node', 'fastify', 'hono', 'fetch'] };

async function main(args: readonly string[]): Promise<void> {
  // `npm start --quick`, without `--` before it, gives the option to npm, which passes it on like this.
  const isQuick = args.includes('--quick') || process.env.npm_config_quick === 'true';
  const names = partsNamed(args.filter((arg) => arg !== '--quick'));
  const cpus = assignCpus();
  const machine = describeMachine(cpus);
  printMachine(machine);

  for (const name of names) {
    const began = performance.now();
    const part = await (PARTS[name] as (typeof PARTS)[string])(isQuick ? QUICK : FULL, cpus);
    const seconds = Math.round((performance.now() - began) / 1000);
    printPart(part);
    const result = { at: new Date().toISOString(), seconds, machine, ...part };
    await writeResults({ ...(await readResults(isQuick)), [name]: result }, isQuick);
  }
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

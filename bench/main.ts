import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { benchCore } from './core';
import { benchHttp } from './http';
import { assignCpus, describeMachine } from './machine';
import { benchMemory } from './memory';
import { type Part, printMachine, printPart } from './report';
import type { Effort } from './rounds';

const FULL: Effort = { isQuick: false, rounds: 7, coreMs: 1000, httpMs: 2500, users: 20_000 };
const QUICK: Effort = { isQuick: true, rounds: 3, coreMs: 300, httpMs: 1000, users: 2000 };

async function main(): Promise<void> {
  // `npm start --quick`, without a `--` before it, gives the option to npm, which hands it on like this.
  const isQuick = process.argv.includes('--quick') || process.env.npm_config_quick === 'true';
  const effort = isQuick ? QUICK : FULL;
  const cpus = assignCpus();
  const machine = describeMachine(cpus);
  printMachine(machine);

  const parts: Part[] = [];
  for (const bench of [benchCore, benchHttp('express'), benchHttp('koa'), benchMemory]) {
    const part = await bench(effort, cpus);
    printPart(part);
    parts.push(part);
  }
  const results = { at: new Date().toISOString(), quick: isQuick, machine, parts };
  await writeFile(join(__dirname, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
}

main().catch((error) => {
  console.error(error);
  // Not left to the event loop, which connections of the part that failed may keep alive.
  process.exit(1);
});

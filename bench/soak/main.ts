import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { monotonicMs } from '../monotonic';
import type { CachePromise } from './cache-diary';
import { judgeCaches } from './cache-verdict';
import { Crew } from './crew';
import { makeFaults } from './faults';
import { lookAtAll } from './final-look';
import type { Orders } from './messages';
import { PromotionWatch } from './promotion-watch';
import { isFlawless, type Part, printPart, workersOf } from './report';
import { reportFaults } from './service';
import { sumOf } from './tally';
import { startCluster, startSentinels, type Topology } from './topologies';
import { judge } from './verdict';
import { judgeVisits } from './visit-verdict';

const DEFAULT_SECONDS = 180;
const QUICK_SECONDS = 40;
const DEFAULT_WORKERS = 4;
const TIMEOUT_MS = 400;
const DURABILITY = { replicas: 1, timeoutMs: 200 };
const CACHE: CachePromise = { maxAgeMs: 5000, heartbeatMs: 500 };
/** Seconds: longer than news of a rotation plus a call, shorter than many sessions live. */
const ROTATION_GRACE = 3;
const USERS = 40;
const OPERATIONS_PER_SECOND = 200;
const WARM_UP_MS = 3000;
const QUIET_MS = 5000;
/** The time a worker may take beyond the load. */
const MOST_BEYOND_MS = 180_000;

interface Options {
  seconds: number;
  workers: number;
  /** Workers with a near cache; by default half of them. */
  cached: number;
  topology: string | undefined;
}

/** `npm run soak --quick`, without `--` before it, gives the option to npm, which passes it on in the environment. */
function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string' },
      quick: { type: 'boolean' },
      workers: { type: 'string' },
      cached: { type: 'string' },
      topology: { type: 'string' },
    },
  });
  const isQuick = values.quick ?? process.env.npm_config_quick === 'true';
  const workers = toCount('workers', values.workers ?? process.env.npm_config_workers, DEFAULT_WORKERS);
  return {
    seconds: toCount(
      'seconds',
      values.seconds ?? process.env.npm_config_seconds,
      isQuick ? QUICK_SECONDS : DEFAULT_SECONDS,
    ),
    workers,
    cached: toCount('cached', values.cached ?? process.env.npm_config_cached, Math.floor(workers / 2), 0),
    topology: values.topology ?? process.env.npm_config_topology,
  };
}

function toCount(name: string, text: string | undefined, otherwise: number, least = 1): number {
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new RangeError(`--${name} must be a whole number from ${least} up`);
  return value;
}

/** Everything that was started, to be ended however the soak ends. */
class Estate {
  readonly #endings: (() => Promise<unknown>)[] = [];

  /** Waits for a topology that is still starting when all must end. */
  async topology(starting: Promise<Topology>): Promise<Topology> {
    this.#endings.push(() => starting.then((topology) => topology.stop()).catch(() => undefined));
    return starting;
  }

  crew(names: readonly string[]): Crew {
    const crew = new Crew(names);
    this.#endings.push(() => crew.kill());
    return crew;
  }

  async end(): Promise<void> {
    await Promise.all(this.#endings.splice(0).map((end) => end()));
  }
}

async function soak(
  start: () => Promise<Topology>,
  { seconds, workers, cached }: Options,
  estate: Estate,
): Promise<Part> {
  const topology = await estate.topology(start());
  const secret = randomBytes(32).toString('hex');
  const names = Array.from({ length: workers }, (_, index) => `w${index + 1}`);
  const orders: Orders[] = names.map((name, index) => ({
    name,
    target: topology.target,
    password: topology.password.now,
    secret,
    timeoutMs: TIMEOUT_MS,
    durability: index === workers - 1 ? DURABILITY : null,
    cache: isCached(index, workers, cached) ? CACHE : null,
    rotationGrace: ROTATION_GRACE,
    users: USERS,
    operationsPerSecond: OPERATIONS_PER_SECOND,
    maxMs: seconds * 1000 + MOST_BEYOND_MS,
  }));
  const crew = estate.crew(names);
  await crew.begin(orders);
  const beganAt = monotonicMs();
  console.log(`\n${topology.title}: ${workers} workers, ${cached} with a near cache, ${seconds} s`);
  await sleep(WARM_UP_MS);
  const watch = new PromotionWatch(topology.nodes);
  const planned = await makeFaults({
    topology,
    anyToken: () => crew.anyToken(),
    holdWorker: () => crew.hold(names.at(-1) as string),
    blockWorker: (ms) => crew.block(ms),
    announcePassword: (password) => crew.announce(password),
    until: beganAt + seconds * 1000,
    onFault: ({ kind, port, at, healedAt }, number) =>
      console.log(
        `  fault ${number} at ${((at - beganAt) / 1000).toFixed(1)} s: ${kind} ${port}, healed after ${Math.round(healedAt - at)} ms`,
      ),
  });
  await topology.untilHealed();
  const records = await crew.drain();
  const endedAt = monotonicMs();
  await sleep(QUIET_MS);
  const unplanned = await watch.unplanned(planned);
  const target = { ...topology.target, password: topology.password.now };
  const look = await lookAtAll({ target, secret, rotationGrace: ROTATION_GRACE }, records);
  await crew.close();

  const faults = [...planned, ...unplanned].sort((a, b) => a.at - b.at);
  const plain = records.filter(({ isDurable }) => !isDurable);
  const durable = records.filter(({ isDurable }) => isDurable);
  await estate.end();
  return {
    title: topology.title,
    seconds: (endedAt - beganAt) / 1000,
    timeoutMs: TIMEOUT_MS,
    faults: reportFaults(faults, records, beganAt),
    tally: sumOf(records.map(({ tally }) => tally)),
    verdicts: {
      plain: judge(plain, records, faults, look),
      durable: judge(durable, records, faults, look),
      caches: judgeCaches(records, faults),
      visits: judgeVisits(records, faults, look),
    },
    workers: workersOf(records),
    unexpected: records.flatMap(({ unexpected }) => unexpected),
    crashes: [...crew.crashes],
    contradictions: [...look.contradictions, ...look.mixUps],
  };
}

/** Evenly spread, including the last worker, whose revocations replicas confirm and which is stopped at times. */
function isCached(index: number, workers: number, cached: number): boolean {
  return Math.floor(((index + 1) * cached) / workers) > Math.floor((index * cached) / workers);
}

async function main(estate: Estate): Promise<boolean> {
  const options = readOptions();
  const { seconds, workers, cached, topology } = options;
  const kinds = { sentinel: startSentinels, cluster: startCluster };
  const chosen = Object.entries(kinds).filter(([name]) => topology === undefined || name === topology);
  if (chosen.length === 0) throw new RangeError(`--topology must be one of ${Object.keys(kinds).join(', ')}`);
  const parts: Part[] = [];
  for (const [, start] of chosen) {
    parts.push(await soak(start, { ...options, seconds: Math.ceil(seconds / chosen.length) }, estate));
  }
  for (const part of parts) printPart(part);
  const isClean = parts.every(isFlawless);
  const results = { at: new Date().toISOString(), seconds, workers, cached, isClean, parts };
  await writeFile(join(__dirname, '..', 'soak-results.json'), `${JSON.stringify(results, null, 2)}\n`);
  console.log(isClean ? 'nothing wrongly ended, alive, lost or mixed up; nothing crashed' : 'FAILED');
  return isClean;
}

const estate = new Estate();
const interrupted = new Promise<boolean>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      console.error(`ended by ${signal}`);
      resolve(false);
    });
  }
});

Promise.race([main(estate), interrupted])
  .catch((error) => {
    console.error(error);
    return false;
  })
  .then(async (isClean) => {
    await estate.end();
    // Not left to the event loop: after a signal, the interrupted part may still wait.
    process.exit(isClean ? 0 : 1);
  });

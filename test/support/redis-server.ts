import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { Certificate } from './certificates';
import { clockOf } from './stepped-clock';
import { within } from './until';

/** A real Redis (or Valkey) for one test: on loopback, on a free port, in a temporary folder. */
export interface RedisServer {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Whether it runs and isn't paused. */
  readonly isUp: boolean;
  /** A client with defaults, for the test's own commands. Closed with the server. */
  readonly admin: Redis;
  /** Kills the server and its data; port and folder stay. */
  kill(): Promise<void>;
  /** Starts it again on the same port, with the same settings and those that it has rewritten itself. */
  restart(): Promise<void>;
  /** SIGSTOP: it accepts connections and answers nothing. */
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

/** redis.conf settings: `{ requirepass: 'x' }`. A list repeats a setting, once for each array of words. */
export type RedisConfig = Record<string, string | readonly (readonly string[])[]>;

export interface ServerTls {
  certificate: Certificate;
  /** Whether clients need a certificate of the same authority. */
  isMutual: boolean;
}

interface RedisServerOptions {
  /** A Sentinel instead of a server. */
  sentinel?: boolean;
  /** For tests that must know it beforehand. Default: a free port. */
  port?: number;
  /** The address that it listens on. Default `127.0.0.1`. */
  host?: string;
  /** Makes it speak TLS only. */
  tls?: ServerTls;
  /** The path of the server. Default: REDIS_SERVER, or the one that is installed. */
  program?: string;
}

const START_MS = 30_000;
const ANSWER_MS = 15_000;
const PORT_TRIES = 5;
/** A cluster node's second port, for the other nodes, is this much higher: 6.2 knows no setting for it. */
const CLUSTER_BUS = 10_000;

export async function startRedis(settings: RedisConfig = {}, options: RedisServerOptions = {}): Promise<RedisServer> {
  const start = (port: number) => startOn(port, settings, options);
  if (options.port !== undefined) return start(options.port);
  return onFreePort({ clusterBus: settings['cluster-enabled'] === 'yes' }, start);
}

/** Starts a server on a free port, or on another one when a process takes that port meanwhile. */
export async function onFreePort(
  options: { clusterBus: boolean },
  start: (port: number) => Promise<RedisServer>,
): Promise<RedisServer> {
  for (let tries = 1; ; tries++) {
    try {
      return await start(await freePort(options));
    } catch (error) {
      if (tries === PORT_TRIES || !isPortTaken(error)) throw error;
    }
  }
}

/** All results, or the first failure after stopping all servers that did start. */
export async function startAll(starting: readonly Promise<RedisServer>[]): Promise<RedisServer[]> {
  const outcomes = await Promise.allSettled(starting);
  const started = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed === undefined) return started;
  await Promise.all(started.map((server) => server.stop()));
  throw failed.reason;
}

/** A reply to the admin client, or an error that names the command without a reply. */
export async function ask<Reply>(server: RedisServer, ...command: [string, ...(string | number)[]]): Promise<Reply> {
  const [name, ...args] = command;
  const what = `${command.slice(0, 6).join(' ')}, asked of port ${server.port}`;
  if (!server.isUp) throw new Error(`not up: ${what}`);
  return (await within(ANSWER_MS, what, server.admin.call(name, ...args))) as Reply;
}

/** Parses the lines of INFO and CLUSTER INFO. */
export async function askInfo(server: RedisServer, ...command: [string, ...string[]]): Promise<Record<string, string>> {
  const text = await ask<string>(server, ...command);
  return Object.fromEntries(text.split('\r\n').map((line) => [line.split(':', 1)[0], line.replace(/^[^:]*:/, '')]));
}

/** How often these commands were called since CONFIG RESETSTAT, by clients and in scripts, refused calls included. */
export async function callsOf(server: RedisServer, ...commands: string[]): Promise<number> {
  const stats = await askInfo(server, 'INFO', 'commandstats');
  const counts = commands.flatMap((command) => [
    ...(stats[`cmdstat_${command}`] ?? '').matchAll(/\b(?:rejected_)?calls=(\d+)/g),
  ]);
  return counts.reduce((sum, [, calls]) => sum + Number(calls), 0);
}

/** {@link callsOf} scripts: the commands on sessions. A connection sends each script itself at first. */
export const scriptCalls = (server: RedisServer) => callsOf(server, 'eval', 'evalsha');

/** The server's clock in milliseconds, which may differ from this process's. */
export async function timeOf(server: RedisServer): Promise<number> {
  const [seconds, microseconds] = await ask<[string, string]>(server, 'TIME');
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
}

/** The only port of this range that `fetch` blocks (WHATWG Fetch, port blocking). */
const REFUSED_BY_FETCH = 10_080;

/**
 * Each Jest worker has ports of its own: none takes the port of a server that another worker has killed. The number
 * divides CLUSTER_BUS, so that bus ports are their worker's own, too.
 */
const WORKERS = 50;
const WORKER = Number(process.env.JEST_WORKER_ID ?? 0) % WORKERS;

/** A free port; if required, one whose cluster bus port is free as well. */
export async function freePort({ clusterBus = false } = {}): Promise<number> {
  for (;;) {
    // Below the range of outgoing connections, for the same reason.
    const port = WORKERS * randomInt(10_000 / WORKERS, Math.floor((32_768 - CLUSTER_BUS) / WORKERS)) + WORKER;
    if (given.has(port) || port === REFUSED_BY_FETCH) continue;
    given.add(port);
    if ((await isFree(port)) && (!clusterBus || (await isFree(port + CLUSTER_BUS)))) return port;
  }
}

/** Ports are requested several at a time, before servers listen on them. */
const given = new Set<number>();

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}

async function startOn(
  port: number,
  settings: RedisConfig,
  { sentinel = false, host = '127.0.0.1', tls, program }: RedisServerOptions,
): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'tokensession-redis-'));
  // A file, since Sentinel requires one, and a server stores its changed role in it.
  const file = join(folder, sentinel ? 'sentinel.conf' : 'redis.conf');
  let child: ChildProcess | undefined;
  let isPaused = false;
  const start = async () => {
    child = await spawnRedis(program ?? redisProgram(), sentinel ? [file, '--sentinel'] : [file], clockOf(folder));
  };
  const kill = async () => {
    isPaused = false;
    if (child === undefined || hasEnded(child)) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  // A child process of the server may still be writing a snapshot.
  const remove = () => rm(folder, { recursive: true, force: true, maxRetries: 10 });

  try {
    const listening = { bind: host, ...(tls === undefined ? { port: String(port) } : tlsConfig(port, tls)) };
    await writeFile(file, redisConf({ ...listening, dir: folder, ...(sentinel ? SENTINEL : SERVER), ...settings }));
    await start();
  } catch (error) {
    await remove();
    throw error;
  }

  const password = typeof settings.requirepass === 'string' ? settings.requirepass : undefined;
  const admin = new Redis({
    port,
    host,
    ...(password === undefined ? {} : { password }),
    ...(tls !== undefined && { tls: { ...tls.certificate, checkServerIdentity: () => undefined } }),
    retryStrategy: () => 20,
  });
  admin.on('error', () => {
    // Tests kill servers; the admin client waits for them to come back.
  });
  const access = password === undefined ? '' : `:${encodeURIComponent(password)}@`;
  const server: RedisServer = {
    host,
    port,
    url: `${tls === undefined ? 'redis' : 'rediss'}://${access}${host.includes(':') ? `[${host}]` : host}:${port}`,
    get pid() {
      return child?.pid as number;
    },
    get isUp() {
      return child !== undefined && !hasEnded(child) && !isPaused;
    },
    admin,
    kill,
    async restart() {
      await kill();
      await start();
    },
    pause() {
      isPaused = child?.kill('SIGSTOP') ?? false;
    },
    resume() {
      child?.kill('SIGCONT');
      isPaused = false;
    },
    async stop() {
      admin.disconnect();
      await kill();
      await remove();
    },
  };
  try {
    await ask(server, 'PING');
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

const hasEnded = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

const SENTINEL: RedisConfig = { 'protected-mode': 'no' };
const SERVER: RedisConfig = { save: '', appendonly: 'no' };

const tlsConfig = (port: number, { certificate, isMutual }: ServerTls): RedisConfig => ({
  port: '0',
  'tls-port': String(port),
  'tls-ca-cert-file': certificate.caFile,
  'tls-cert-file': certificate.certFile,
  'tls-key-file': certificate.keyFile,
  'tls-auth-clients': isMutual ? 'yes' : 'no',
  'tls-replication': 'yes',
  'tls-cluster': 'yes',
});

function redisConf(settings: RedisConfig): string {
  const lines = Object.entries(settings).flatMap(([name, value]) => {
    if (typeof value !== 'string') return value.map((words) => `${name} ${words.map(quote).join(' ')}`);
    // `save` is the one setting that redis-server takes as one argument of several words.
    return name === 'save' && value !== '' ? `save ${value}` : `${name} ${quote(value)}`;
  });
  return `${lines.join('\n')}\n`;
}

const quote = (word: string) => `"${word.replace(/["\\]/g, '\\$&')}"`;

/** The program found or installed by `install-programs.sh`. */
function redisProgram(): string {
  const named = process.env.REDIS_SERVER;
  if (named !== undefined && named !== '') return named;
  if (programOnPath !== undefined) return programOnPath;
  for (const program of ['redis-server', 'valkey-server']) {
    try {
      execFileSync(program, ['--version'], { stdio: 'ignore' });
      programOnPath = program;
      return program;
    } catch {
      // Not on the PATH: the next one.
    }
  }
  throw new Error('no redis-server: run `npm test`, which installs it, or set REDIS_SERVER to its path');
}

/** Whether the server is a Redis older than 7.0, which words some refusals otherwise. */
export function isRedis6(): boolean {
  return /\bv=6\./.test(execFileSync(redisProgram(), ['--version'], { encoding: 'utf8' }));
}

/** Looked up once: that blocks the process. */
let programOnPath: string | undefined;

async function spawnRedis(program: string, args: readonly string[], clock: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...clock } });
  let log = '';
  const ready = new Promise<void>((resolve, reject) => {
    const read = (chunk: Buffer) => {
      log += chunk;
      // The second message is the last one of a Sentinel.
      if (/Ready to accept connections|Sentinel ID is/.test(log)) resolve();
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('close', () => reject(new Error(`redis-server did not start:\n${log}`)));
    child.once('error', reject);
  });
  try {
    await within(START_MS, 'the start of redis-server', ready);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  for (const output of [child.stdout, child.stderr]) output.removeAllListeners('data').resume();
  return child;
}

/** Whether another process has taken the port, or the one of the cluster bus. */
const isPortTaken = (error: unknown) => error instanceof Error && /Address already in use/.test(error.message);

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

/** A real Redis (or Valkey) of a test's own: on loopback, on a free port, in a folder that goes with it. */
export interface RedisServer {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** A client with defaults, for the test's own questions to the server. Closed with the server. */
  readonly admin: Redis;
  /** The server's memory is lost; the port stays. */
  kill(): Promise<void>;
  /** Starts it again on the same port, with the same settings. */
  restart(): Promise<void>;
  /** SIGSTOP: it goes on listening and answers nothing. */
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

/** redis.conf settings: `{ requirepass: 'x' }`. A list is for one that may be given several times, each time with its words. */
type RedisConfig = Record<string, string | readonly (readonly string[])[]>;

export async function startRedis(settings: RedisConfig = {}): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'tokensession-redis-'));
  const port = await freePort();
  let child = await spawnRedis(port, folder, settings);
  const password = typeof settings.requirepass === 'string' ? settings.requirepass : undefined;
  const admin = new Redis({
    port,
    host: '127.0.0.1',
    ...(password === undefined ? {} : { password }),
    retryStrategy: () => 20,
  });
  admin.on('error', () => {
    // Tests kill servers; the admin client waits for them to come back.
  });
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  const server: RedisServer = {
    port,
    url: `redis://${password === undefined ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`,
    get pid() {
      return child.pid as number;
    },
    admin,
    kill,
    async restart() {
      await kill();
      child = await spawnRedis(port, folder, settings);
    },
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async stop() {
      admin.disconnect();
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
  await admin.ping();
  return server;
}

/** The program that `install-programs.sh` has found or installed. */
function redisProgram(): string {
  const named = process.env.REDIS_SERVER;
  if (named !== undefined && named !== '') return named;
  for (const program of ['redis-server', 'valkey-server']) {
    try {
      execFileSync(program, ['--version'], { stdio: 'ignore' });
      return program;
    } catch {
      // Not on the PATH: the next one.
    }
  }
  throw new Error('no redis-server: run `npm test`, which installs it, or set REDIS_SERVER to its path');
}

async function spawnRedis(port: number, folder: string, settings: RedisConfig): Promise<ChildProcess> {
  const all: RedisConfig = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'no',
    ...settings,
  };
  const args = Object.entries(all).flatMap(([name, value]) =>
    typeof value === 'string' ? [`--${name}`, value] : value.flatMap((words) => [`--${name}`, ...words]),
  );
  const child = spawn(redisProgram(), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let log = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (chunk) => {
      log += chunk;
      if (/Ready to accept connections/.test(log)) resolve();
    });
    child.once('exit', () => reject(new Error(`redis-server did not start:\n${log}`)));
    child.once('error', reject);
  });
  child.stdout?.resume();
  return child;
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../support/doc-pages';
import { type RedisServer, startRedis } from '../support/redis-server';

const NPM = process.platform === 'win32' ? 'npm.cmd' : 'npm';

let server: RedisServer;
/** An empty folder with the packed package installed in it, as a project would have it. */
let project: string;
/** In that folder. */
let tarball: string;

const run = async (program: string, args: string[], cwd = project) => {
  const env = {
    ...process.env,
    REDIS_URL: server.url,
    NODE_OPTIONS: '',
    npm_config_fund: 'false',
    npm_config_audit: 'false',
  };
  const done = await promisify(execFile)(program, args, { cwd, env }).catch((error) => {
    throw new Error(`${program} ${args.join(' ')} failed:\n${error.stdout}\n${error.stderr}`);
  });
  return done.stdout;
};

const install = (...packages: string[]) => run(NPM, ['install', '--prefer-offline', ...packages]);

/** The versions that this project itself is tested with. */
const ours = async (name: string) => {
  const { devDependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  return `${name}@${devDependencies[name]}`;
};

jest.setTimeout(240_000);

beforeAll(async () => {
  server = await startRedis();
  project = await mkdtemp(join(tmpdir(), 'tokensession-package-'));
  await writeFile(join(project, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');
  await run(NPM, ['pack', '--pack-destination', project], ROOT);
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  tarball = `./tokensession-${version}.tgz`;
  const types = ['@types/node', '@types/koa', '@types/express', '@types/express-session'];
  const others = ['ioredis', 'express', 'express-session', 'fastify', 'hono', ...types].map(ours);
  // An application on Express 5.3 would get untyped content-disposition declarations from @types/koa: they're kept out
  // of the way.
  const neighbours = [await ours('content-disposition'), ...(await Promise.all(others))];
  await install(tarball, ...neighbours, 'typescript@5.9');
  await cp(join(__dirname, 'consumer'), project, { recursive: true });
});
afterAll(async () => {
  await server.stop();
  await rm(project, { recursive: true, force: true });
});

it('contains what it needs and nothing else', async () => {
  const files = (await run('tar', ['-tzf', tarball])).trim().split('\n');
  const folders = new Set(files.map((path) => path.split('/')[1]));
  expect([...folders].sort()).toEqual([
    ...['CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'README.md', 'SECURITY.md'],
    ...['dist', 'docs', 'package.json', 'src'],
  ]);
});

it('has pages whose links lead to files in it, except for the folders that the README names', async () => {
  const root = join(project, 'node_modules/tokensession');
  const pages = (await readdir(root, { recursive: true })).filter((name) => name.endsWith('.md'));
  const linked: string[] = [];
  for (const page of pages) {
    const text = await readFile(join(root, page), 'utf8');
    const targets = [...text.matchAll(/\]\(([^)#\s]+)|(?:src|href)="([^"#]+)"/g)].map(
      ([, link, source]) => link ?? source,
    );
    const local = targets.filter((target = '') => !/^https?:/.test(target));
    linked.push(...local.map((target = '') => join(page, '..', target)));
  }
  expect(linked.length).toBeGreaterThan(500);
  expect(linked.filter((file) => !/^(examples|test|bench)\b/.test(file) && !existsSync(join(root, file)))).toEqual([]);
  const told = 'Links to `examples`, `test` and `bench` work in a clone only';
  expect(await readFile(join(root, 'README.md'), 'utf8')).toContain(told);
});

it('works with import and with require', async () => {
  expect(await run(process.execPath, ['run.mjs'])).toBe('import works\n');
  expect(await run(process.execPath, ['run.cjs'])).toBe('require works\n');
});

describe('has types that resolve, strictly and without skipLibCheck,', () => {
  const compile = async (
    typescript: string,
    type: 'module' | 'commonjs',
    options: Record<string, unknown>,
    files = ['app.ts', 'hosts.ts'],
  ) => {
    const manifest = JSON.parse(await readFile(join(project, 'package.json'), 'utf8'));
    await writeFile(join(project, 'package.json'), JSON.stringify({ ...manifest, type }));
    const compilerOptions = {
      target: 'es2022',
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      // TypeScript's own declarations are not ours to check.
      skipDefaultLibCheck: true,
      esModuleInterop: true,
      noEmit: true,
      types: ['node'],
      ...options,
    };
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
    await run(process.execPath, [typescript, '-p', '.']);
  };
  const ourTypescript = join(ROOT, 'node_modules/typescript/bin/tsc');
  const RESOLUTIONS = [
    ['node16 in an ES module', 'module', { module: 'node16', moduleResolution: 'node16' }],
    ['node16 in CommonJS', 'commonjs', { module: 'node16', moduleResolution: 'node16' }],
    ['a bundler', 'module', { module: 'esnext', moduleResolution: 'bundler' }],
  ] as const;

  it.each(RESOLUTIONS)('under %s', async (_, type, options) => {
    await compile(ourTypescript, type, options);
  });

  it('for a target without the library of ES2022', async () => {
    const [[, type, options]] = RESOLUTIONS;
    await compile(ourTypescript, type, { ...options, target: 'es2021' }, ['app.ts']);
  });

  it.each(['module', 'commonjs'] as const)('together with those of express-session: %s', async (type) => {
    await compile(ourTypescript, type, { module: 'node16', moduleResolution: 'node16' }, ['beside-express-session.ts']);
  });

  it('also with the previous TypeScript, and ioredis 5', async () => {
    await install('ioredis@5');
    const [[, type, options]] = RESOLUTIONS;
    await compile(join(project, 'node_modules/typescript/bin/tsc'), type, options, ['app.ts']);
    expect(await run(process.execPath, ['run.mjs'])).toBe('import works\n');
  });
});

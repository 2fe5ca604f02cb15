import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const SRC = resolve(__dirname, '../../src');

/** The folders of src/ that each folder may import from: never one above it. */
const LAW: Record<string, string[]> = {
  errors: ['errors'],
  token: ['token', 'errors'],
  store: ['store', 'token', 'errors'],
  cache: ['cache', 'store', 'token', 'errors'],
  manager: ['manager', 'cache', 'store', 'token', 'errors'],
  // In the order of a request.
  'http/exchange': ['http/exchange', 'store', 'errors'],
  'http/cookies': ['http/cookies', 'http/exchange', 'errors'],
  'http/tokens': ['http/tokens', 'http/cookies', 'http/exchange', 'manager', 'token', 'errors'],
  'http/session': [
    ...['http/session', 'http/tokens', 'http/cookies', 'http/exchange'],
    ...['manager', 'store', 'token', 'errors'],
  ],
  'http/guards': ['http/guards', 'http/session', 'manager', 'errors'],
  http: [
    ...['http/guards', 'http/session', 'http/tokens', 'http/cookies', 'http/exchange'],
    ...['manager', 'token', 'errors'],
  ],
  'node-http': ['node-http', 'http/exchange', 'http/guards'],
  'express-session': [
    ...['express-session', 'http/session', 'http/exchange'],
    ...['manager', 'store', 'token', 'errors'],
  ],
  passport: ['passport', 'http/session', 'http/guards', 'errors'],
  'fetch-http': ['fetch-http', 'http/exchange', 'errors'],
  redis: [
    ...['redis', 'redis/health', 'redis/changes', 'redis/revocations', 'redis/connection', 'redis/client'],
    ...['redis/scripts', 'store', 'token', 'errors'],
  ],
  // From redis/ itself, only what describes the data, see below.
  'redis/health': ['redis/health', 'redis/connection', 'redis/client', 'redis/scripts', 'redis', 'store', 'errors'],
  'redis/changes': [
    'redis/changes',
    'redis/health',
    'redis/connection',
    'redis/client',
    'redis',
    'store',
    'token',
    'errors',
  ],
  'redis/revocations': ['redis/revocations', 'redis/connection', 'redis/client', 'token', 'errors'],
  'redis/connection': ['redis/connection', 'redis/client', 'redis/scripts', 'redis', 'errors'],
  'redis/client': ['redis/client', 'errors'],
  'redis/scripts': ['redis/scripts', 'redis', 'store'],
  '.': [
    'node-http',
    'fetch-http',
    'http',
    'http/guards',
    'http/session',
    'http/exchange',
    'express-session',
    'passport',
    'manager',
    'cache',
    'store',
    'token',
    'redis',
    'redis/revocations',
    'redis/client',
    'errors',
  ],
};

/** The packages that each folder may import at run time; types are free, except where {@link isHostless}. */
const PACKAGES: Record<string, string[]> = {
  errors: [],
  token: ['node:crypto', 'nanoid'],
  store: [],
  cache: ['node:crypto', 'lru-cache'],
  manager: ['node:events', 'node:util'],
  'http/exchange': ['cookie'],
  'http/cookies': ['cookie'],
  'http/tokens': [],
  'http/session': ['node:util'],
  http: [],
  'http/guards': [],
  'node-http': [],
  'express-session': ['node:crypto', 'express-session'],
  passport: ['node:crypto', 'node:http', 'node:util'],
  'fetch-http': [],
  redis: ['ioredis'],
  'redis/health': ['node:crypto'],
  'redis/changes': ['node:timers/promises'],
  'redis/revocations': [],
  'redis/connection': ['node:crypto', 'node:timers/promises', 'ioredis'],
  'redis/client': ['node:net', 'node:util', 'ioredis'],
  'redis/scripts': [],
  '.': [],
};

/** Whether a file knows no host: it may not even import a type of Node's HTTP, Express or Koa. */
const isHostless = (file: string) => file.startsWith('http/');

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

function importsOf(file: string): { target: string; isType: boolean }[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from '([^']+)';/gm);
  return [...statements].map(([, type, target]) => ({ target: target as string, isType: type !== undefined }));
}

const folderOf = (file: string) => dirname(file);
const resolved = (file: string, target: string) => `${relative(SRC, resolve(SRC, dirname(file), target))}.ts`;

it.each(files)('%s imports only what its folder may', (file) => {
  const allowed = LAW[folderOf(file)] ?? [];
  for (const { target, isType } of importsOf(file)) {
    if (target.startsWith('.')) {
      expect(files).toContain(resolved(file, target));
      expect(allowed).toContain(folderOf(resolved(file, target)));
    } else if (!isType || isHostless(file)) {
      expect(PACKAGES[folderOf(file)]).toContain(target);
    }
  }
});

it('the folders in redis/ take nothing from the folder above them but what they share', () => {
  const inside = files.filter((file) => folderOf(file).startsWith('redis/'));
  const above = inside.flatMap(importsOf).filter(({ target }) => /^\.\.\/[\w-]+$/.test(target));
  expect(new Set(above.map(({ target }) => target))).toEqual(new Set(['../schema', '../replies']));
});

it('the folders that know no host take no type from elsewhere, except by their imports', () => {
  const inside = files.filter(isHostless);
  expect(inside.length).toBeGreaterThan(10);
  for (const file of inside) {
    expect({ file, text: readFileSync(join(SRC, file), 'utf8') }).toEqual({
      file,
      text: expect.not.stringMatching(/\bimport\(|\brequire\(|<reference|\bdeclare (?:global|module)/),
    });
  }
});

it('each file of src/ itself is a public import path, with types and a page of the reference', () => {
  const { exports, typesVersions } = JSON.parse(readFileSync(resolve(SRC, '../package.json'), 'utf8'));
  const { entryPoints } = JSON.parse(readFileSync(resolve(SRC, '../reference/typedoc.json'), 'utf8'));
  const names = files.filter((file) => folderOf(file) === '.').map((file) => file.replace(/\.ts$/, ''));
  const paths = names.map((name) => (name === 'index' ? '.' : `./${name}`));
  expect(Object.keys(exports).sort()).toEqual([...paths, './package.json'].sort());
  expect(Object.keys(typesVersions['*']).sort()).toEqual(names.filter((name) => name !== 'index').sort());
  expect(entryPoints.toSorted()).toEqual(names.map((name) => `../src/${name}.ts`).sort());
});

it('finds every kind of import that it checks', () => {
  expect(importsOf('index.ts').length).toBeGreaterThan(4);
  expect(importsOf('koa.ts')).toContainEqual({ target: 'koa', isType: true });
});

it('no file imports itself, directly or through others', () => {
  const importing = new Map(
    files.map((file) => [
      file,
      importsOf(file)
        .filter(({ target }) => target.startsWith('.'))
        .map(({ target }) => resolved(file, target)),
    ]),
  );
  const visit = (file: string, path: string[]): void => {
    if (path.includes(file)) throw new Error(`a cycle: ${[...path, file].join(' -> ')}`);
    for (const next of importing.get(file) ?? []) visit(next, [...path, file]);
  };
  for (const file of files) visit(file, []);
});

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { DOWNLOADS } from './downloads';

/** A server packaged by a release of Debian. */
export interface DebianServer {
  name: 'Redis' | 'Valkey';
  /** Major and minor. */
  version: string;
  release: string;
}

export const REDIS_7: DebianServer = { name: 'Redis', version: '7.0', release: 'bookworm' };
export const REDIS_8: DebianServer = { name: 'Redis', version: '8.0', release: 'trixie' };
export const VALKEY_8: DebianServer = { name: 'Valkey', version: '8.1', release: 'trixie' };
export const VALKEY_9: DebianServer = { name: 'Valkey', version: '9.1', release: 'forky' };

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

const run = async (program: string, ...args: string[]) => {
  const { stdout } = await promisify(execFile)(program, args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout;
};

/**
 * Unpacks a server and its libraries into a folder of their own, unless they are there. Nothing is installed. With the
 * variable FAKETIME, libfaketime shifts the program's clock; with FAKETIME_TIMESTAMP_FILE by what that file says at the
 * moment. Only Redis 7.0 starts with libfaketime.
 *
 * @returns the program, for REDIS_SERVER, and its full version
 * @throws when the release has another version, or the packages are not available
 */
export async function unpackServer(server: DebianServer): Promise<{ program: string; version: string }> {
  const { name, release } = server;
  const folder = join(DOWNLOADS, `${release}-${name.toLowerCase()}`);
  if (!existsSync(join(folder, 'root'))) {
    await rm(folder, { recursive: true, force: true });
    await unpack(`${name.toLowerCase()}-server`, release, folder);
  }
  const program = await writeProgram(`${name.toLowerCase()}-server`, release, folder);
  const version = /v=(\S+)/.exec(await run(program, '--version'))?.[1] ?? 'none';
  if (version.startsWith(`${server.version}.`)) return { program, version };
  throw new Error(`Debian ${release} has ${name} ${version}, not ${server.version}: name another release`);
}

async function unpack(name: string, release: string, folder: string): Promise<void> {
  const [apt, unfinished] = [join(folder, 'apt'), join(folder, 'unfinished')];
  await mkdir(apt, { recursive: true });
  await writeFile(join(apt, 'sources.list'), `deb [signed-by=${KEYRING}] ${await debianMirror()} ${release} main\n`);
  // No package counts as installed, so that all dependencies of the server are downloaded.
  await writeFile(join(apt, 'status'), '');
  const options = [
    `Dir::State=${apt}`,
    `Dir::State::status=${apt}/status`,
    `Dir::Cache=${apt}`,
    `Dir::Etc::sourcelist=${apt}/sources.list`,
    'Dir::Etc::sourceparts=-',
    'Dir::Etc::preferences=-',
    'Dir::Etc::preferencesparts=-',
    'APT::Sandbox::User=',
  ].flatMap((option) => ['-o', option]);
  await run('apt-get', ...options, 'update', '-qq', '--error-on=any');
  const install = ['install', '-qq', '--yes', '--download-only', '--no-install-recommends'];
  await run('apt-get', ...options, ...install, name, 'libfaketime');
  const archives = join(apt, 'archives');
  for (const file of await readdir(archives)) {
    if (file.endsWith('.deb')) await run('dpkg-deb', '-x', join(archives, file), unfinished);
  }
  await rm(apt, { recursive: true });
  await rename(unfinished, join(folder, 'root'));
}

/** Writes the program that starts the server with its own loader and libraries, and returns its path. */
async function writeProgram(name: string, release: string, folder: string): Promise<string> {
  const root = join(folder, 'root');
  // The loader in the folder of the C library: its other name is a link, which may point outside.
  const files = await readdir(root, { recursive: true });
  const loader = files.find((file) => /-linux-gnu[^/]*\/ld-linux[^/]*\.so\.\d+$/.test(file));
  if (loader === undefined) throw new Error(`no loader of programs among the packages of Debian ${release}`);
  const platform = basename(dirname(loader));
  const libraries = [join(root, 'lib', platform), join(root, 'usr/lib', platform)];
  const faketime = join(root, 'usr/lib', platform, 'faketime/libfaketime.so.1');
  // libfaketime does not start with jemalloc: the C library is loaded first, for its malloc.
  const preload = `\${faked:+--preload '${faketime}:${join(root, dirname(loader), 'libc.so.6')}'}`;
  const script = [
    '#!/bin/sh',
    'faked=$FAKETIME$FAKETIME_TIMESTAMP_FILE',
    'export FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1',
    `set -- ${preload} '${join(root, 'usr/bin', name)}' "$@"`,
    `exec '${join(root, loader)}' --library-path '${libraries.join(':')}' "$@"`,
  ];
  const [unfinished, program] = [join(folder, `server-${process.pid}`), join(folder, 'server')];
  await writeFile(unfinished, `${script.join('\n')}\n`, { mode: 0o755 });
  await rename(unfinished, program);
  return program;
}

/** The mirror that this system's apt is set to, where the system is a Debian. */
async function debianMirror(): Promise<string> {
  if (process.env.DEBIAN_MIRROR) return process.env.DEBIAN_MIRROR;
  const targets = await run('apt-get', 'indextargets', '--format', '$(ORIGIN)/$(LABEL) $(REPO_URI)');
  const mirror = /^Debian\/Debian (\S+)$/m.exec(targets)?.[1];
  if (mirror === undefined) throw new Error('no Debian mirror among the sources of apt: set DEBIAN_MIRROR to one');
  return mirror;
}

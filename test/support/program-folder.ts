import { mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './doc-pages';

/** Makes a folder for ES module programs that use the packages installed here. The caller removes it. */
export async function makeProgramFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tokensession-programs-'));
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  return folder;
}

import { transformSync } from '@swc/core';

type Body = (...args: unknown[]) => Promise<void>;
const AsyncFunction = (async () => {}).constructor as new (...parametersAndBody: string[]) => Body;

/**
 * Runs a snippet of a page in this process, as the body of an async function with these values as variables.
 * Declarations in the snippet come first.
 */
export async function runSnippet(text: string, given: Record<string, unknown> = {}): Promise<void> {
  const { code } = transformSync(text, {
    jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
    module: { type: 'commonjs', strictMode: false, noInterop: false },
    isModule: true,
  });
  const body = new AsyncFunction('require', 'exports', ...Object.keys(given), `{ ${code} }`);
  await body(require, {}, ...Object.values(given));
}

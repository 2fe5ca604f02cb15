import { parseSync } from '@swc/core';

type Node = Record<string, unknown>;

/**
 * All names of each test in a source: its title, then with one more enclosing describe in front each ("is cleared",
 * "the cookie is cleared", …). Placeholders of `it.each` stay as written. Leaves out skipped tests, and titles that
 * are assembled at run time.
 */
export function testNames(source: string): string[][] {
  const found: string[][] = [];
  visit(parseSync(source, { syntax: 'typescript' }), [], found);
  return found;
}

function visit(node: unknown, around: readonly string[], found: string[][]): void {
  if (typeof node !== 'object' || node === null) return;
  const { type, callee, arguments: given } = node as Node;
  const name = type === 'CallExpression' ? functionName(callee as Node) : '';
  if (/^x(describe|it|test)$|\.(skip|todo)\b/.test(name)) return;

  const title = /^(describe|it)(\.each)?$/.test(name) ? textOf((given as { expression: Node }[])[0]?.expression) : null;
  const path = title === null ? around : [...around, title];
  if (title !== null && name.startsWith('it')) {
    found.push(path.map((_, outermost) => path.slice(outermost).join(' ')).reverse());
  }
  for (const child of Object.values(node)) visit(child, path, found);
}

/** Gives `it`, or `it.each` for `it.each(…)('title', …)` and for the form with a template. */
function functionName(callee: Node): string {
  if (callee.type === 'Identifier') return callee.value as string;
  if (callee.type === 'CallExpression') return functionName(callee.callee as Node);
  if (callee.type === 'TaggedTemplateExpression') return functionName(callee.tag as Node);
  if (callee.type !== 'MemberExpression') return '';
  return `${functionName(callee.object as Node)}.${(callee.property as Node).value}`;
}

function textOf(node: Node | undefined): string | null {
  if (node?.type === 'StringLiteral') return node.value as string;
  if (node?.type !== 'TemplateLiteral') return null;
  const [text, ...more] = node.quasis as { cooked: string }[];
  return text !== undefined && more.length === 0 ? text.cooked : null;
}

import { parseSync } from '@swc/core';

type Node = Record<string, unknown>;

/**
 * What each test in a source can be called: its title, and the titles of the describes around it in front of it, as far
 * out as one likes ("is cleared", "the cookie is cleared", …). Titles with placeholders (`it.each`) are as they are
 * written. A test that is skipped or left to do is none, and so is one whose title is put together at run time.
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

/** `it`, or `it.each` for `it.each(…)('title', …)` and for the same with a template. */
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

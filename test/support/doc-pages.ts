import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const ROOT = resolve(__dirname, '../..');

/** Every page for readers, by its path from the root of the repository. */
export const PAGES: readonly string[] = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
];

export const pageText = (page: string) => readFileSync(join(ROOT, page), 'utf8');

/** All code blocks of one language, in order. */
export const blocks = (language: string, text = pageText('README.md')) =>
  [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter(([, name]) => name === language)
    .map(([, , text]) => text as string);

/** The text of a page under a heading, up to the next heading of the same or a higher level. */
export function section(page: string, heading: string): string {
  const [, level = ''] = new RegExp(`^(#+) ${escaped(heading)}$`, 'm').exec(pageText(page)) ?? [];
  if (level === '') throw new Error(`${page} has no heading "${heading}"`);
  const [, rest = ''] = `\n${pageText(page)}`.split(`\n${level} ${heading}\n`);
  return rest.split(new RegExp(`^#{1,${level.length}} `, 'm'), 1)[0] as string;
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** The commands of a transcript, each with its output. */
export function transcript(text: string): [command: string, output: string][] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((step) => {
      const [command, ...output] = step.trimEnd().split('\n');
      return [command as string, output.join('\n')];
    });
}

/**
 * What the snippets of all pages take as given when they don't make it themselves: declarations, for the compiler.
 * `runSnippet` is passed the values.
 */
export const GIVEN = `
  import type { ErrorRequestHandler as Handler, Express } from 'express';
  import * as crypto from 'node:crypto';
  import * as tokensession from 'tokensession';
  import * as forExpress from 'tokensession/express';
  declare global {
    var { randomBytes }: typeof crypto;
    var { MemoryStore, RedisStore, SessionError, TokenManager, createRedisClient }: typeof tokensession;
    var { requireRecentLogin, requireUser, safeReturnTo, sessionMiddleware }: typeof forExpress;
    type ErrorRequestHandler = Handler;
    var app: Express;
    var passport: { authenticate(strategy: never, options: never, callback: never): unknown };
    var sessions: tokensession.TokenManager;
    var db: { users: { find(id: string): Promise<{ name: string } | null> } };
    var checkPassword: (name: string, password: string) => Promise<{ id: number } | null>;
    var savePassword: (userId: string, password: string) => Promise<void>;
    var checkCode: (userId: string, code: string) => Promise<boolean>;
  }
`
  // A destructuring cannot be declared: declare each name.
  .replace(/var \{ (.*?) \}: typeof (\w+);/g, (_, names: string, from: string) =>
    names
      .split(', ')
      .map((name) => `var ${name}: typeof ${from}.${name};`)
      .join(' '),
  );

/** What pages use of Next.js, React and SvelteKit. `npm run try:next` compiles Next's code against their own types. */
export const NEXT_TYPES = `
  declare module '$app/environment' {
    export const building: boolean;
  }
  declare module 'react' {
    export function cache<Result>(read: () => Result): () => Result;
  }
  declare module 'next/headers' {
    export function headers(): Promise<Headers>;
    export function cookies(): Promise<{ toString(): string; set(cookie: { name: string; value: string; expires?: Date }): unknown }>;
  }
  declare module 'next/server' {
    export class NextResponse extends Response {
      readonly cookies: { getAll(): { name: string; value: string }[] };
    }
  }
  declare module 'next/navigation' {
    export function redirect(url: string): never;
  }
  declare module '@/lib/session' {
    import type { FetchSession } from 'tokensession/fetch';
    export function withSession(
      handler: (session: FetchSession, request: Request) => Promise<Response>,
    ): (request: Request) => Promise<Response>;
    export function act<Result>(verb: (session: FetchSession) => Promise<Result>): Promise<Result>;
  }
`;

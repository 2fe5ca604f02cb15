import type { RequestListener } from 'node:http';
import { listen } from '../apps';
import { sendRaw } from '../raw-request';
import type { Witness } from './witness';

export type Send = (method: string, path: string, ...headers: string[]) => Promise<string>;

/** Where the application returns a token on purpose: in the member `token` of the body, and in the cookie. */
const HANDING_OUT = /^\/(login|rotate|reauthenticated)\b/;

/** Paths where the connection may break during the response. */
const BREAKING = /^\/late-/;

/** Runs an application. Requests return the token in the response, or ''; the rest is recorded for the search. */
export async function withClient(
  listener: RequestListener,
  witness: Witness,
  use: (send: Send) => Promise<void>,
): Promise<void> {
  const app = await listen(listener);
  try {
    await use(async (method, path, ...headers) => {
      const sent = sendRaw(app.url, method, path, ['Host: app.example', ...headers]);
      if (BREAKING.test(path)) {
        await Promise.allSettled([sent]);
        return '';
      }
      const { status, headers: fields, text } = await sent;
      witness.count(`status ${status}`);
      const given = HANDING_OUT.test(path) ? (status === 200 ? tokenIn(text) : tokenSet(fields)) : '';
      if (given !== '') witness.issued(given);
      const without = (part: string) => (given === '' ? part : part.replace(given, 'handed out'));
      for (const [name, value] of fields) {
        witness.text(`${path}: response header ${name}`, name === 'set-cookie' ? without(value) : value);
      }
      witness.text(`${path}: response body`, without(text));
      return given;
    });
  } finally {
    await app.close();
  }
}

function tokenIn(json: string): string {
  const { token } = JSON.parse(json) as { token: unknown };
  return typeof token === 'string' ? token : '';
}

/** The token of a handler that failed afterwards. */
function tokenSet(fields: Iterable<readonly [name: string, value: string]>): string {
  const cookie = [...fields].find(([name, value]) => name === 'set-cookie' && value.startsWith('session='));
  return cookie?.[1].slice('session='.length).split(';', 1)[0] ?? '';
}

export const inCookie = (token: string) => `Cookie: session=${token}`;
export const inHeader = (token: string) => `Authorization: Bearer ${token}`;

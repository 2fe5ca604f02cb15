import express from 'express';
import fc from 'fast-check';
import { MemoryStore, TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import { type Detail, FRAMEWORKS, listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { ALL_HOSTS } from '../support/hosts';
import { anySession } from '../support/hosts/host';
import { sendRaw } from '../support/raw-request';
import { runs } from '../support/runs';
import { SECRET } from '../support/stores';

const HOST = 'Host: shop.example.com';
const ORIGIN = 'https://shop.example.com';
/** The Accept header of a browser that loads a page. */
const PAGE = 'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
const { safeReturnTo } = forExpress;

describe.each(Object.entries(FRAMEWORKS))('%s: requireUser({ redirectTo })', (name, build) => {
  const onClose = closeAfterEach();

  async function start(mountPath?: string) {
    const manager = new TokenManager<Detail>({ store: new MemoryStore(), secret: SECRET });
    const handler = build(manager, { onUnavailable: 'anonymous' });
    const app = await listen(mountPath === undefined ? handler : express().use(mountPath, handler));
    onClose(() => manager.close());
    onClose(app.close);
    const send = (headers: string[], method = 'GET', path = '/page') =>
      sendRaw(app.url, method, path, [HOST, ...headers]);
    return { manager, send };
  }
  const header = (response: { headers: [string, string][] }, wanted: string) =>
    response.headers.find(([name]) => name === wanted)?.[1];

  it.each(['GET', 'HEAD'])(
    'sends a browser that asks for a page to the login, with the path to return to: %s',
    async (method) => {
      const { send } = await start();
      const response = await send([PAGE], method, '/page?tab=1&name=%C3%A9%20&next=//evil.example');
      expect(response.status).toBe(303);
      const location = new URL(header(response, 'location') ?? '', ORIGIN);
      expect(`${location.origin}${location.pathname}`).toBe(`${ORIGIN}/login`);
      expect([...location.searchParams]).toEqual([['returnTo', '/page?tab=1&name=%C3%A9%20&next=//evil.example']]);
      expect(header(response, 'cache-control')).toBe('no-store');
      expect(header(response, 'vary')).toBe('Accept');
      expect(header(response, 'www-authenticate')).toBeUndefined();
    },
  );

  // It gets its request from the application.
  if (name !== 'fetch')
    it('returns to the path that the client asked for, where Express mounts the application', async () => {
      const { send } = await start('/v1');
      const response = await send([PAGE], 'GET', '/v1/page?tab=1');
      const location = `/login?returnTo=${encodeURIComponent('/v1/page?tab=1')}`;
      expect([response.status, header(response, 'location')]).toEqual([303, location]);
    });

  it.each([
    ['a script', 'GET', 'Accept: */*'],
    ['a script that asks for JSON', 'GET', 'Accept: application/json, text/plain, */*'],
    ['a client that names nothing', 'GET', 'X-Nothing: 1'],
    ['a client that refuses HTML', 'GET', 'Accept: application/json, text/html;q=0'],
    ['a form', 'POST', PAGE],
  ])('answers 401 to %s', async (_who, method, accept) => {
    const { send } = await start();
    const response = await send([accept], method);
    expect(response).toMatchObject({ status: 401, text: '{"error":"unauthenticated"}' });
    expect(header(response, 'location')).toBeUndefined();
    expect(header(response, 'vary')).toBe('Accept');
  });

  it('lets a signed-in user pass, and redirects no request whose user it cannot determine', async () => {
    const { manager, send } = await start();
    const cookie = `Cookie: session=${await manager.setToken('ada')}`;
    expect(await send([PAGE, cookie])).toMatchObject({ status: 200, text: '{"user":{"id":"ada"}}' });
    await manager.close();
    expect(await send([PAGE, cookie])).toMatchObject({ status: 503 });
  });
});

it.each([
  'login',
  '//evil.example',
  '/\\evil.example',
  'https://shop.example.com/login',
  '/log in',
  '/login#top',
  '',
  7,
])('requireUser() rejects the redirectTo %j', async (redirectTo) => {
  for (const [, host] of ALL_HOSTS) {
    const session = await anySession(host);
    const guard = () => host.requireUser(...(host.hasMiddleware ? [] : [session]), { redirectTo });
    expect(guard).toThrow(TypeError);
    expect(guard).toThrow(/^redirectTo must be a /);
  }
});

describe('safeReturnTo', () => {
  it.each([
    ...[
      '//evil.example',
      '/\\evil.example',
      '\\\\evil.example',
      '/\t/evil.example',
      '/\n/evil.example',
      '\r\n//evil.example',
    ],
    ...['https://evil.example', 'https:/evil.example', 'javascript:alert(1)', ' //evil.example', '/ /evil.example'],
    ...[
      'evil.example',
      '@evil.example',
      '?next',
      '#top',
      '/\u0000',
      '/\u007f',
      '/／evil.example',
      '/a\\b',
      '',
      null,
      7,
    ],
    // The path must not begin with a host after a browser's normalization either.
    ...['/.//evil.example', '/a/..//evil.example', '/%2e//evil.example'],
    [['/a', '/b']],
  ])('returns / for %j', (value) => {
    expect(safeReturnTo(value)).toBe('/');
  });

  it.each(['/', '/a/b?c=d&e=%2F%2Fevil.example#f', '/%2f/evil.example', '/%5cevil.example', '/a//b', "/a'(b)!"])(
    'returns %j unmodified',
    (path) => {
      expect(safeReturnTo(path)).toBe(path);
    },
  );

  it('stays on the origin, for any input in any encoding', () => {
    const tricks = [
      '/',
      '\\',
      '.',
      '..',
      '%2f',
      '%5c',
      '%2e',
      '%09',
      '\t',
      '\n',
      '\r',
      '\0',
      ' ',
      '@',
      ':',
      '?',
      '#',
      ';',
      '／',
      '。',
    ];
    const parts = fc.constantFrom(...tricks, 'evil.example', 'https:', 'javascript:', 'a');
    const values = fc.oneof(
      fc.array(parts, { maxLength: 8 }).map((all) => all.join('')),
      fc.array(parts, { maxLength: 8 }).map((all) => `/${all.join('')}`),
      fc.string({ unit: 'binary' }),
      fc.webUrl(),
    );
    fc.assert(
      fc.property(values, (value) => {
        const path = safeReturnTo(value);
        expect(new URL(path, `${ORIGIN}/login`).origin).toBe(ORIGIN);
        // As read from the query of the login page, and as a page would parse it.
        const query = new URL(`${ORIGIN}/login?returnTo=${encodeURIComponent(path)}`).searchParams.get('returnTo');
        expect(safeReturnTo(query)).toBe(path);
        const { pathname, search } = new URL(path, ORIGIN);
        expect(new URL(pathname + search, ORIGIN).origin).toBe(ORIGIN);
      }),
      runs(2000),
    );
  });

  it('leaves out a path that is too long for a header', () => {
    const long = 'a'.repeat(1024);
    expect(safeReturnTo(`/a?${long}`)).toBe('/a');
    expect(safeReturnTo(`/${long}`)).toBe('/');
  });
});

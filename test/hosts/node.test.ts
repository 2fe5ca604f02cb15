import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import {
  type ClientHttp2Session,
  connect,
  constants,
  createServer as createHttp2Server,
  createSecureServer,
  type IncomingHttpHeaders,
} from 'node:http2';
import { createServer as createHttpsServer, request as requestSecurely } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import express from 'express';
import { SessionError, type TokenManager } from 'tokensession';
import { requireUser as requireUserOfExpress, sessionMiddleware } from 'tokensession/express';
import {
  type NodeRequest,
  type NodeResponse,
  requireRecentLogin,
  requireUser,
  sendError,
  sessionOpener,
} from 'tokensession/node';
import { listen } from '../support/apps';
import { CertificateAuthority } from '../support/certificates';
import { closeAfterEach } from '../support/closing';
import { managerMaker } from '../support/managers';
import { sendRaw } from '../support/raw-request';

const HOST = 'Host: shop.example.com';
const onClose = closeAfterEach();

const newManager = managerMaker(onClose);

/** Signs in at /login and out at /logout; other paths require a user. */
function listener(manager: TokenManager) {
  const open = sessionOpener(manager);
  const answer = async (req: NodeRequest, res: NodeResponse) => {
    const session = await open(req, res);
    if (req.url === '/login') await session.login('ada');
    else if (req.url === '/logout') await session.logout();
    else if (req.url === '/vault') await requireRecentLogin(session, 60);
    else requireUser(session);
    // HTTP/2 sends the headers of a response without a body another way.
    if (req.url === '/logout') res.end();
    else res.end(JSON.stringify(session.user));
  };
  return (req: NodeRequest, res: NodeResponse) => {
    answer(req, res).catch((error) => sendError(res, error));
  };
}

async function portOf(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onClose(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

describe('over HTTP/2', () => {
  async function send(client: ClientHttp2Session, headers: Record<string, string | string[]>) {
    const stream = client.request(headers);
    const [response] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }];
    let body = '';
    for await (const chunk of stream) body += chunk;
    return { status: response[':status'], headers: response, setCookie: response['set-cookie'] ?? [], body };
  }

  const post = (path: string, more: Record<string, string | string[]> = {}) => ({
    ':method': 'POST',
    ':path': path,
    ':authority': 'shop.example.com',
    ...more,
  });

  it('signs in and out, checks the origin by :authority, and reports errors', async () => {
    const manager = newManager();
    const authority = await CertificateAuthority.create();
    onClose(() => authority.remove());
    const { cert, key, ca } = await authority.issue('localhost');
    for (const isSecure of [false, true]) {
      const name = isSecure ? '__Host-session' : 'session';
      const server = isSecure
        ? createSecureServer({ cert, key }, listener(manager))
        : createHttp2Server(listener(manager));
      const port = await portOf(server);
      const client = connect(`${isSecure ? 'https' : 'http'}://localhost:${port}`, { ca });
      onClose(() => client.destroy());
      const origin = `${isSecure ? 'https' : 'http'}://shop.example.com`;
      const login = await send(client, post('/login', { origin, 'sec-fetch-site': [] }));
      expect([login.status, login.body, login.setCookie]).toEqual([
        200,
        '{"id":"ada"}',
        [expect.stringMatching(new RegExp(`^${name}=[^;]+`))],
      ]);
      expect(login.headers['cache-control']).toBe('no-store');
      const cookie = login.setCookie[0]?.split(';')[0] as string;
      expect((await send(client, post('/vault', { cookie: ['theme=dark', cookie], origin }))).body).toBe(
        '{"id":"ada"}',
      );
      expect((await send(client, post('/login', { origin: 'https://evil.example' }))).status).toBe(403);
      const refused = await send(client, post('/me', { cookie, origin: 'https://evil.example' }));
      expect([refused.status, refused.body]).toEqual([403, '{"error":"ERR_CROSS_ORIGIN"}']);
      const logout = await send(client, post('/logout', { cookie, origin }));
      expect([logout.status, logout.setCookie]).toEqual([
        200,
        [expect.stringMatching(new RegExp(`^${name}=; Max-Age=0`))],
      ]);
      const anonymous = await send(client, post('/me', { cookie, origin }));
      expect([anonymous.status, anonymous.headers['www-authenticate'], anonymous.body]).toEqual([
        401,
        'Bearer',
        '{"error":"unauthenticated","reason":"unknown"}',
      ]);
    }
  });

  it('sends an error without a look at the status message, of which Node warns', async () => {
    const looks: unknown[] = [];
    const server = createHttp2Server((_req, res) => {
      const look = (...given: unknown[]) => looks.push(given);
      Object.defineProperty(res, 'statusMessage', { get: look, set: look });
      sendError(res, new SessionError('ERR_STORE_TIMEOUT', 'late'));
    });
    const client = connect(`http://127.0.0.1:${await portOf(server)}`);
    onClose(() => client.destroy());
    expect((await send(client, post('/'))).status).toBe(503);
    expect(looks).toEqual([]);
  });

  it('cuts off a response that has begun, with an error', async () => {
    const server = createHttp2Server((_req, res) => {
      res.write('begun');
      setImmediate(() => sendError(res, new SessionError('ERR_STORE_TIMEOUT', 'late')));
    });
    const client = connect(`http://127.0.0.1:${await portOf(server)}`);
    onClose(() => client.destroy());
    const stream = client.request(post('/')).on('error', () => undefined);
    const reading = async () => {
      for await (const _ of stream);
    };
    await expect(reading()).rejects.toThrow();
    expect(stream.rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR);
  });

  it('makes no login for a client that has disconnected', async () => {
    const manager = newManager();
    const open = sessionOpener(manager);
    let outcome: unknown;
    const done = new Promise<void>((resolve) => {
      const server = createHttp2Server(async (req, res) => {
        const session = await open(req, res);
        await once(res.stream, 'close');
        outcome = await session.login('ada').catch((error) => error);
        resolve();
      });
      portOf(server).then((port) => {
        const client = connect(`http://127.0.0.1:${port}`).on('error', () => undefined);
        const stream = client.request(post('/login')).on('error', () => undefined);
        server.once('request', () => stream.close(8));
        onClose(() => client.destroy());
      });
    });
    await done;
    expect(outcome).toMatchObject({ code: 'ERR_HEADERS_SENT' });
    expect(await manager.listUserToken('ada')).toEqual([]);
  });
});

it('over HTTPS sets the cookie of a secure request', async () => {
  const manager = newManager();
  const authority = await CertificateAuthority.create();
  onClose(() => authority.remove());
  const { cert, key, ca } = await authority.issue('localhost');
  const port = await portOf(createHttpsServer({ cert, key }, listener(manager)));
  const sent = requestSecurely({ host: 'localhost', port, ca, method: 'POST', path: '/login', agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
  expect(response.headers['set-cookie']).toEqual([expect.stringMatching(/^__Host-session=.*; Secure/)]);
});

describe('openSession', () => {
  it('opens a request once', async () => {
    const manager = newManager();
    const open = sessionOpener(manager);
    const app = await listen(async (req, res) => {
      const [one, two] = await Promise.all([open(req, res), open(req, res)]);
      res.end(String(one === two && one === (await open(req, res))));
    });
    onClose(app.close);
    const cookie = `Cookie: session=${await manager.setToken('ada')}`;
    expect((await sendRaw(app.url, 'GET', '/', [HOST, cookie])).text).toBe('true');
  });

  it('opens a session for each opener, and the cookies of all reach the response', async () => {
    const cookies = ['staff', 'shop'];
    const openers = cookies.map((cookie) => sessionOpener(newManager(), { cookie: { name: cookie } }));
    const app = await listen(async (req, res) => {
      const sessions = await Promise.all(openers.map((open) => open(req, res)));
      for (const [index, session] of sessions.entries()) await session.login(cookies[index] as string);
      res.end(JSON.stringify(sessions.map(({ user }) => user?.id)));
    });
    onClose(app.close);
    const { text, headers } = await sendRaw(app.url, 'POST', '/', [HOST]);
    expect(JSON.parse(text)).toEqual(cookies);
    const set = headers.filter(([name]) => name === 'set-cookie').map(([, line]) => line.split('=', 1)[0]);
    expect(set).toEqual(cookies);
  });

  it('stores the address that the connection has, none for null, and by default that of the socket', async () => {
    const manager = newManager();
    const open = sessionOpener(manager);
    const connections = { ada: { ip: '192.0.2.7' }, eve: { ip: null }, bob: { ip: undefined } };
    const app = await listen(async (req, res) => {
      const user = req.url?.slice(1) as keyof typeof connections;
      await (await open(req, res, connections[user])).login(user);
      res.end();
    });
    onClose(app.close);
    const addresses: unknown[] = [];
    for (const user of Object.keys(connections)) {
      await sendRaw(app.url, 'POST', `/${user}`, [HOST]);
      addresses.push((await manager.listUserSessions(user))[0]?.attributes.ip);
    }
    expect(addresses).toEqual(['192.0.2.7', undefined, '127.0.0.1']);
  });

  it('uses the path that a router has left in originalUrl', async () => {
    const open = sessionOpener(newManager());
    const app = await listen((req, res) => {
      Object.assign(req, { originalUrl: req.url, url: '/' });
      open(req, res)
        .then((session) => requireUser(session, { redirectTo: '/login' }))
        .catch((error) => sendError(res, error));
    });
    onClose(app.close);
    const { status, headers } = await sendRaw(app.url, 'GET', '/shop/cart', [HOST, 'Accept: text/html']);
    expect([status, headers.find(([name]) => name === 'location')?.[1]]).toEqual([
      303,
      '/login?returnTo=%2Fshop%2Fcart',
    ]);
  });

  it.each([
    ['no request', [undefined, undefined], 'openSession() needs a request of node:http'],
    ['no response', [{ headers: {} }, undefined], 'openSession() needs the response, as in openSession(req, res)'],
    ['a connection that is none', [{ headers: {} }, { setHeader() {} }, { secure: 1 }], 'secure must be true or false'],
  ])('rejects an invalid argument: %s', async (_, given, message) => {
    const opening = sessionOpener(newManager())(...(given as unknown as [NodeRequest, NodeResponse]));
    await expect(opening).rejects.toThrow(TypeError);
    await expect(opening).rejects.toThrow(message);
  });
});

describe('sendError', () => {
  const sending = async (send: (res: ServerResponse) => void) => {
    const app = await listen((_req, res) => send(res));
    onClose(app.close);
    return app;
  };

  it('sends status, headers and code, and keeps other headers of the response', async () => {
    const app = await sending((res) => {
      res.setHeader('Set-Cookie', 'theme=dark');
      sendError(res, new SessionError('ERR_STORE_UNAVAILABLE', 'no details for clients'));
    });
    const { status, headers, setCookie, text } = await sendRaw(app.url, 'GET', '/', [HOST]);
    expect([status, setCookie, text]).toEqual([503, ['theme=dark'], '{"error":"ERR_STORE_UNAVAILABLE"}']);
    expect(headers).toContainEqual(['retry-after', '1']);
    expect(headers).toContainEqual(['content-type', 'application/json; charset=utf-8']);
  });

  it('drops the body headers that the handler had set', async () => {
    const app = await sending((res) => {
      res.setHeader('Content-Length', '5');
      res.setHeader('Content-Encoding', 'gzip');
      res.setHeader('ETag', '"x"');
      res.setHeader('Cache-Control', 'public, max-age=3600');
      sendError(res, new SessionError('ERR_UNAUTHENTICATED', 'no user is signed in'));
    });
    const answer = await fetch(app.url);
    expect([answer.status, await answer.text()]).toEqual([401, '{"error":"ERR_UNAUTHENTICATED"}']);
    for (const name of ['content-encoding', 'etag', 'cache-control']) expect(answer.headers.get(name)).toBeNull();
  });

  it.each([
    ...['Accept-Ranges', 'Content-Digest', 'Content-Disposition', 'Content-Language', 'Content-Location'],
    ...['Content-Range', 'Repr-Digest', 'Trailer'],
  ])('drops the header %s', async (name) => {
    const app = await sending((res) => {
      res.setHeader(name, 'attachment');
      sendError(res, new SessionError('ERR_UNAUTHENTICATED', 'no user is signed in'));
    });
    const answer = await fetch(app.url);
    expect([answer.status, answer.headers.get(name)]).toEqual([401, null]);
  });

  it.each(['Created', '保存'])('drops the status message of the handler: %s', async (message) => {
    const app = await sending((res) => {
      res.statusMessage = message;
      sendError(res, new SessionError('ERR_UNAUTHENTICATED', 'no user is signed in'));
    });
    const answer = await fetch(app.url);
    expect([answer.status, answer.statusText]).toEqual([401, 'Unauthorized']);
  });

  it('has no Content-Length beside the Transfer-Encoding that the handler had set, as a guard of Express', async () => {
    const own = await sending((res) => {
      res.setHeader('Transfer-Encoding', 'chunked');
      sendError(res, new SessionError('ERR_UNAUTHENTICATED', 'no user is signed in'));
    });
    const host = express();
    host.use(sessionMiddleware(newManager()), (_req, res, next) => {
      res.set('Transfer-Encoding', 'chunked');
      next();
    });
    host.use(requireUserOfExpress());
    const guarded = await listen(host);
    onClose(guarded.close);
    for (const { url } of [own, guarded]) {
      const { status, headers, text } = await sendRaw(url, 'GET', '/', [HOST]);
      const names = headers.map(([name]) => name);
      expect([status, names.includes('transfer-encoding'), names.includes('content-length')]).toEqual([
        401,
        true,
        false,
      ]);
      expect(text).toMatch(/^\w+\r\n\{"error":"\w+"\}\r\n0\r\n/);
    }
  });

  it.each([
    ['an error', new Error('a secret of the service')],
    ['an error with a status of its own', Object.assign(new Error('a secret'), { status: 404, body: 'a secret' })],
    ['undefined', undefined],
    ['null', null],
    ['a text', 'a secret'],
  ])('answers %s with 500, and shows nothing of it', async (_, error) => {
    const app = await sending((res) => {
      res.statusCode = 200;
      res.setHeader('ETag', '"x"');
      sendError(res, error);
    });
    const answer = await fetch(app.url);
    expect([answer.status, await answer.text()]).toEqual([500, '{"error":"internal_server_error"}']);
    expect(answer.headers.get('etag')).toBeNull();
  });

  it('leaves a completed response alone', async () => {
    const body = 'x'.repeat(10_000_000);
    const app = await sending((res) => {
      res.end(body);
      sendError(res, new SessionError('ERR_STORE_TIMEOUT', 'late'));
    });
    expect((await (await fetch(app.url)).text()).length).toBe(body.length);
  });

  it('aborts a response that has begun', async () => {
    const app = await sending((res) => {
      res.write('begun');
      setImmediate(() => sendError(res, new SessionError('ERR_STORE_TIMEOUT', 'late')));
    });
    const sent = request(app.url).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    await expect(
      (async () => {
        for await (const _ of response);
      })(),
    ).rejects.toThrow('aborted');
  });
});

it('works beside a server that handles its own requests', async () => {
  const manager = newManager();
  const open = sessionOpener(manager);
  const server = createServer(async (req, res) => {
    await (await open(req, res)).login('ada');
    res.writeHead(200, ['Set-Cookie', 'theme=dark', 'Cache-Control', 'public']).end('in');
  });
  const port = await portOf(server);
  const { headers, setCookie } = await sendRaw(`http://127.0.0.1:${port}`, 'POST', '/', [HOST]);
  expect(setCookie.map((line) => line.split('=')[0])).toEqual(['theme', 'session']);
  expect(headers).toContainEqual(['cache-control', 'no-store']);
});

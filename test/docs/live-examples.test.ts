import { once } from 'node:events';
import { io, type Socket } from 'socket.io-client';
import { WebSocket } from 'ws';
import { closeAfterEach } from '../support/closing';
import { type ExampleProcess, killExamples, runExample } from '../support/example-process';
import { type RedisServer, startRedis } from '../support/redis-server';
import { within } from '../support/until';

const SECRET = 'a secret that the tests of the examples share';
const WAIT_MS = 60_000;

let redis: RedisServer;
/** Serves the tests that need no settings of their own. */
let example: ExampleProcess;
let address: string;
beforeAll(async () => {
  redis = await startRedis();
  ({ example, address } = await serve());
});
afterAll(async () => {
  await killExamples();
  await redis.stop();
});

const closing = closeAfterEach();
afterEach(() => killExamples([example]));

async function serve(env: Record<string, string> = {}) {
  const example = runExample('live/server.ts', { PORT: '0', SESSION_SECRET: SECRET, ...env });
  const [, address = ''] = await example.printed(/Open (http:\S+) in/);
  return { example, address };
}

async function login(address: string): Promise<string> {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${address}/login`, { method: 'POST', headers, body: '{"user":"ada"}' });
  return ((await answer.json()) as { token: string }).token;
}

/** Ends all sessions of the user but this one, from Firefox. */
const kickOthers = (address: string, token: string) =>
  fetch(`${address}/sessions`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${token}`, 'user-agent': 'Mozilla/5.0 Gecko/20100101 Firefox/140.0' },
  });

const MESSAGE = /^you were signed out on Firefox at \d\d:\d\d$/;

function openWebSocket(address: string, headers: Record<string, string>) {
  const ws = new WebSocket(`${address.replace('http', 'ws')}/ws`, { headers });
  closing(() => ws.terminate());
  const seen: string[] = [];
  ws.on('message', (data) => seen.push(String(data)));
  ws.on('error', () => undefined);
  const closed = once(ws, 'close').then(([code, reason]) => ({ code, reason: String(reason) }));
  const opened = once(ws, 'message').then(([data]) => String(data));
  const refused = once(ws, 'unexpected-response').then(([, res]) => res.statusCode);
  // Some of these are never called.
  for (const outcome of [closed, opened, refused]) outcome.catch(() => undefined);
  return { ws, seen, closed, opened, refused };
}

/** The events of a stream, in order. */
async function* eventsOf(address: string, token: string) {
  const response = await fetch(`${address}/events`, { headers: { authorization: `Bearer ${token}` } });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  let text = '';
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString();
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
      const [, event, data] = /^event: (.*)\ndata: (.*)$/m.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (event !== undefined) yield { event, data: JSON.parse(data ?? '') };
    }
  }
}

function openSocketIo(address: string, transport: 'websocket' | 'polling', options: object): Socket {
  const socket = io(address, { transports: [transport], forceNew: true, reconnection: false, ...options });
  closing(() => socket.disconnect());
  return socket;
}

const received = <Data>(socket: Socket, event: string) =>
  within(WAIT_MS, event, new Promise<Data>((resolve) => socket.once(event, resolve)));

it('a kick in another process closes the WebSocket, both transports of Socket.IO and the stream, with the reason', async () => {
  const [here, there] = await Promise.all([serve({ REDIS_URL: redis.url }), serve({ REDIS_URL: redis.url })]);
  const kicked = await login(here.address);
  const kept = await login(there.address);
  const cookie = { cookie: `session=${kicked}` };

  const ws = openWebSocket(here.address, cookie);
  const other = openWebSocket(here.address, { authorization: `Bearer ${kept}` });
  expect(await Promise.all([ws.opened, other.opened])).toEqual(['hello ada', 'hello ada']);
  const sockets = [
    openSocketIo(here.address, 'websocket', { auth: { token: kicked } }),
    openSocketIo(here.address, 'polling', { auth: { token: kicked } }),
    openSocketIo(here.address, 'websocket', { extraHeaders: cookie }),
    openSocketIo(here.address, 'polling', { extraHeaders: cookie }),
  ];
  expect(await Promise.all(sockets.map((socket) => received(socket, 'hello')))).toEqual(Array(4).fill('ada'));
  const events = eventsOf(here.address, kicked);
  expect((await events.next()).value).toEqual({ event: 'hello', data: { user: 'ada' } });
  const online = await fetch(`${here.address}/online`, { headers: { authorization: `Bearer ${kept}` } });
  expect(await online.json()).toEqual(['ada']);

  const ends = sockets.flatMap((socket) => [received(socket, 'signed-out'), received(socket, 'disconnect')]);
  expect(await (await kickOthers(there.address, kept)).json()).toEqual({ ended: 1 });
  const why = { reason: 'revoked', message: expect.stringMatching(MESSAGE) };
  expect(await ws.closed).toEqual({ code: 4401, reason: expect.stringMatching(MESSAGE) });
  expect(await Promise.all(ends)).toEqual(sockets.flatMap(() => [why, 'io server disconnect']));
  expect((await events.next()).value).toEqual({ event: 'signed-out', data: why });
  expect((await events.next()).done).toBe(true);

  other.ws.send('still here');
  await within(WAIT_MS, 'the answer', once(other.ws, 'message'));
  expect(other.seen).toEqual(['hello ada', 'ada: still here']);
  expect(here.example.stderr + there.example.stderr).toBe('');
});

it('a client without a live session is refused at the handshake', async () => {
  const [token, kept] = [await login(address), await login(address)];
  await kickOthers(address, kept);
  const ended = { authorization: `Bearer ${token}` };
  expect(await openWebSocket(address, {}).closed).toEqual({ code: 4401, reason: 'unknown' });
  expect(await openWebSocket(address, ended).closed).toEqual({ code: 4401, reason: expect.stringMatching(MESSAGE) });
  for (const transport of ['websocket', 'polling'] as const) {
    const refused = await received<Error>(openSocketIo(address, transport, {}), 'connect_error');
    expect(refused).toMatchObject({ message: 'ERR_UNAUTHENTICATED' });
    const former = await received<Error>(openSocketIo(address, transport, { auth: { token } }), 'connect_error');
    const data = { reason: 'revoked', message: expect.stringMatching(MESSAGE) };
    expect(former).toMatchObject({ message: 'ERR_SESSION_ENDED', data });
  }
  expect((await fetch(`${address}/events`, { headers: ended })).status).toBe(401);
});

it('a page of another origin gets no connection, with and without the cookie', async () => {
  const cookie = `session=${await login(address)}`;
  const origin = 'https://evil.example';
  expect(await openWebSocket(address, { origin, cookie }).refused).toBe(403);
  expect(await openWebSocket(address, { origin }).refused).toBe(403);
  expect(await openWebSocket(address, { origin: address, cookie }).opened).toBe('hello ada');
  for (const transport of ['websocket', 'polling'] as const) {
    for (const extraHeaders of [{ origin, cookie }, { origin }]) {
      const refused = await received<Error>(openSocketIo(address, transport, { extraHeaders }), 'connect_error');
      expect(refused).toMatchObject({ message: 'ERR_CROSS_ORIGIN' });
    }
  }
});

it('stops watching for a client that disconnects, and survives invalid input', async () => {
  const token = await login(address);
  const authorization = `Bearer ${token}`;
  const online = async () => (await fetch(`${address}/online`, { headers: { authorization } })).json();
  const { ws, opened } = openWebSocket(address, { authorization });
  await opened;
  expect(await online()).toEqual(['ada']);
  ws.terminate();
  const begin = performance.now();
  while (((await online()) as string[]).length > 0) expect(performance.now() - begin).toBeLessThan(WAIT_MS);

  const upgrade = { connection: 'upgrade', upgrade: 'websocket', authorization };
  for (const [path, headers] of [
    ['//', upgrade],
    ['/ws', upgrade],
    ['/ws?x', { ...upgrade, 'sec-websocket-key': 'short' }],
    ['/elsewhere', upgrade],
  ] as const) {
    const request = require('node:http').request(address, { path, headers });
    request.on('error', () => undefined).end();
    setTimeout(() => request.destroy(), 200);
  }
  const again = openWebSocket(address, { authorization });
  expect(await again.opened).toBe('hello ada');
  expect(example.stderr).toBe('');
});

it('exits with code 0 on SIGTERM, with a WebSocket, both transports of Socket.IO and a stream open', async () => {
  const own = await serve();
  const token = await login(own.address);
  await openWebSocket(own.address, { authorization: `Bearer ${token}` }).opened;
  for (const transport of ['websocket', 'polling'] as const) {
    await received(openSocketIo(own.address, transport, { auth: { token } }), 'hello');
  }
  const events = eventsOf(own.address, token);
  await events.next();
  events.next().catch(() => undefined);
  expect(await own.example.terminate()).toBe(0);
});

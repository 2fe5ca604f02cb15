import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import express from 'express';
import { MemoryStore, RedisStore, TokenManager } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/express';
import { WebSocket } from 'ws';
import { blocks, pageText, section } from '../support/doc-pages';
import { makeProgramFolder } from '../support/program-folder';
import { endProgram, OUR_SOURCES, TSX } from '../support/programs';
import { freePort, type RedisServer, startRedis } from '../support/redis-server';
import { runSnippet } from '../support/run-snippet';
import { PATIENT, SECRET } from '../support/stores';
import { until, within } from '../support/until';

const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';

let folder: string;
let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
  folder = await makeProgramFolder();
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Starts the page's first program, or what becomes of it. */
async function startProgram(change = (program: string) => program) {
  const port = await freePort();
  const [program = ''] = blocks('ts', pageText('docs/live.md'));
  await writeFile(join(folder, 'server.ts'), change(program));
  const settings = { REDIS_URL: server.url, SESSION_SECRET: SECRET, PORT: String(port) };
  const env = { ...process.env, ...OUR_SOURCES, ...settings };
  return { child: spawn(process.execPath, [...TSX, 'server.ts'], { cwd: folder, env, stdio: 'ignore' }), port };
}

it('begins with a program that closes WebSockets when their session ends', async () => {
  const { child, port } = await startProgram();
  const manager = new TokenManager({ store: new RedisStore(server.url, PATIENT), secret: SECRET });
  try {
    await until('it listens', async () => (await fetch(`http://127.0.0.1:${port}`)).status === 404);
    const open = (headers: Record<string, string>) => {
      const ws = new WebSocket(`ws://127.0.0.1:${port}`, { headers });
      const closed = once(ws, 'close').then(([code, reason]) => [code, String(reason)]);
      return { ws, closed: within(20_000, 'the close', closed) };
    };
    const authorization = `Bearer ${await manager.setToken('ada')}`;
    const { ws, closed } = open({ authorization });
    await once(ws, 'open');
    ws.send('hello');
    const [answer] = await once(ws, 'message');
    expect(String(answer)).toBe('ada: hello');
    await manager.deleteUserToken('ada');
    expect(await closed).toEqual([4401, 'revoked']);
    expect(await open({ authorization }).closed).toEqual([4401, 'revoked']);
    expect(await open({}).closed).toEqual([4401, '']);
    const refused = open({ origin: 'https://evil.example' });
    refused.closed.catch(() => undefined);
    const [, response] = await once(refused.ws, 'unexpected-response');
    expect(response.statusCode).toBe(403);
    refused.ws.on('error', () => undefined).terminate();

    // A refused client that stays open holds no connection: writes are answered with a reset.
    const lasting = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).resume();
    lasting.write(`GET / HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n${UPGRADE}\r\n`);
    const reset = new Promise((resolve) => lasting.once('error', resolve));
    await once(lasting, 'end');
    const writing = setInterval(() => lasting.write('x'), 20);
    try {
      await within(5000, 'the reset', reset);
    } finally {
      clearInterval(writing);
      lasting.destroy();
    }
  } finally {
    await endProgram(child);
    await manager.close();
  }
});

it('continues when getUserInfo fails', async () => {
  const failing = "getUserInfo: () => Promise.reject(new Error('the database is away')),\n  secret:";
  const { child, port } = await startProgram((program) => program.replace('secret:', failing));
  const manager = new TokenManager({ store: new RedisStore(server.url, PATIENT), secret: SECRET });
  try {
    await until('it listens', async () => (await fetch(`http://127.0.0.1:${port}`)).status === 404);
    const headers = { authorization: `Bearer ${await manager.setToken('ada')}` };
    const ws = new WebSocket(`ws://127.0.0.1:${port}`, { headers }).on('error', () => undefined);
    await within(20_000, 'the close', new Promise((resolve) => ws.once('close', resolve)));
    expect((await fetch(`http://127.0.0.1:${port}`)).status).toBe(404);
  } finally {
    await endProgram(child);
    await manager.close();
  }
});

it('opens a stream of events at once, and ends it with the session', async () => {
  const sessions = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  const app = express().use(sessionMiddleware(sessions));
  const [snippet = ''] = blocks('ts', section('docs/live.md', 'Stop a response in progress'));
  await runSnippet(snippet, { app, requireUser });
  const listening = app.listen(0, '127.0.0.1');
  try {
    await once(listening, 'listening');
    const url = `http://127.0.0.1:${(listening.address() as AddressInfo).port}/events`;
    const headers = { authorization: `Bearer ${await sessions.setToken('ada')}` };
    const response = await within(5000, 'the head of the response', fetch(url, { headers }));
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    await sessions.deleteUserToken('ada', { message: 'Signed out' });
    expect(await within(5000, 'its end', response.text())).toBe('event: signed-out\ndata: "Signed out"\n\n');
  } finally {
    listening.closeAllConnections();
    listening.close();
  }
});

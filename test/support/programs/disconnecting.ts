import { EventEmitter, once } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { MemoryStore, SessionError, type Store, TokenManager } from 'tokensession';
import { type Detail, FRAMEWORKS, listen } from '../apps';
import { openRequest, sendRaw } from '../raw-request';
import { SECRET } from '../stores';
import { until } from '../until';
import { wrapStore } from '../wrapped-store';

/*
 * On each host, clients disconnect during calls to the store, or a middleware answers in the meantime. An uncaught
 * error ends the program. Prints the results as JSON.
 */
type HangUp = 'destroy' | 'resetAndDestroy';

interface Network {
  /** Emits `call`, with the method, and `end`. */
  calls: EventEmitter;
  isFailing: boolean;
  /** Keeps each `check` from ending until it resolves. */
  held: Promise<void>;
}

/** Answers late, or fails late. */
function slow(store: Store, network: Network): Store {
  const callLate = async (method: string, call: () => unknown) => {
    const { calls, isFailing: fails } = network;
    calls.emit('call', method);
    await sleep(40);
    if (method === 'check') await network.held;
    // Node runs timers before sockets: a client that has hung up is noticed first, also by a process held up.
    await nextTurn();
    await nextTurn();
    calls.emit('end');
    if (fails) throw new SessionError('ERR_STORE_TIMEOUT', 'no answer');
    return call();
  };
  return wrapStore(store, (method, call) => (method === 'close' ? call() : callLate(method, call)));
}

/** Disconnects when this method of the store is called. */
async function hangUpAtCall({ calls }: Network, verb: string, socket: Socket, hangUp: HangUp): Promise<void> {
  socket.on('error', () => undefined);
  let [called] = await once(calls, 'call');
  while (called !== verb) [called] = await once(calls, 'call');
  socket[hangUp]();
}

/**
 * A client disconnects during the store call of a rotation, and the owner rotates the same token meanwhile. Returns
 * whether the owner's new token lives on.
 */
async function rotateMeanwhile(network: Network, url: string, owner: TokenManager, hangUp: HangUp): Promise<boolean> {
  const token = await owner.setToken(hangUp);
  let release = () => {};
  network.held = new Promise((resolve) => {
    release = resolve;
  });
  const request = openRequest(url, 'POST', '/rotate', ['Host: x', `Cookie: session=${token}`]);
  await hangUpAtCall(network, 'check', request, hangUp);
  const child = (await owner.rotateToken(token)) as string;
  const isUsed = (await owner.touchToken(child)) !== null;
  const ended = once(network.calls, 'end');
  release();
  await ended;
  await sleep(100);
  const isLive = (await owner.touchToken(child)) !== null;
  return isUsed && isLive && (await owner.listUserToken(hangUp)).join() === child;
}

async function disconnectOn(build: (typeof FRAMEWORKS)[keyof typeof FRAMEWORKS]) {
  const network: Network = { calls: new EventEmitter(), isFailing: false, held: Promise.resolve() };
  const { calls } = network;
  const store = new MemoryStore();
  const manager = new TokenManager<Detail>({ store: slow(store, network), secret: SECRET });
  const listener = build(manager, { routes: { '/rotate': (session) => session.rotate() } });
  const app = await listen(listener);
  const cookie = `Cookie: session=${await manager.setToken('ada')}`;
  let hungUp = 0;
  for (network.isFailing of [false, true]) {
    for (const [method, path, headers] of [
      ['POST', '/login?user=ada', []],
      ['POST', '/login?user=ada', [cookie]],
      ['GET', '/session', [cookie]],
      ['POST', '/logout', [cookie]],
    ] as const) {
      for (const hangUp of ['destroy', 'resetAndDestroy'] as const) {
        const [called, ended] = [once(calls, 'call'), once(calls, 'end')];
        const socket = openRequest(app.url, method, path, ['Host: x', ...headers]).on('error', () => undefined);
        await called;
        socket[hangUp]();
        await ended;
        hungUp++;
      }
    }
  }
  const impatient = await listen((req, res) => {
    setTimeout(() => res.writeHead(504).end(), 10);
    listener(req, res);
  });
  const { status: answered } = await sendRaw(impatient.url, 'GET', '/session', ['Host: x', cookie]);
  await sleep(200);
  await impatient.close();
  network.isFailing = false;

  const kept = await manager.setToken('joan');
  await hangUpAtCall(network, 'create', openRequest(app.url, 'POST', '/login?user=mary', ['Host: x']), 'destroy');
  await once(calls, 'end');
  const rotation = openRequest(app.url, 'POST', '/rotate', ['Host: x', `Cookie: session=${kept}`]);
  await hangUpAtCall(network, 'check', rotation, 'destroy');
  await sleep(200);
  const orphansOf = async () => (await manager.listUserToken('mary')).length;
  await until('no orphan is left', async () => (await orphansOf()) === 0).catch(() => undefined);
  const orphans = await orphansOf();
  const isKept = (await manager.listUserToken('joan')).join() === kept;
  const owner = new TokenManager({ store, secret: SECRET });
  const ownersTokens = [];
  for (const hangUp of ['destroy', 'resetAndDestroy'] as const)
    ownersTokens.push(await rotateMeanwhile(network, app.url, owner, hangUp));
  const { status, setCookie } = await sendRaw(app.url, 'POST', '/login?user=grace', ['Host: x']);
  await app.close();
  await manager.close();
  return { hungUp, answered, orphans, isKept, ownersTokens, status, cookies: setCookie.length };
}

async function main(): Promise<void> {
  const outcomes = Object.entries(FRAMEWORKS).map(async ([host, build]) => [host, await disconnectOn(build)] as const);
  console.log(JSON.stringify(Object.fromEntries(await Promise.all(outcomes))));
}

void main();

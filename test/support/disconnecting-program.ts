import { EventEmitter, once } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { MemoryStore, SessionError, type Store, TokenManager } from 'tokensession';
import { type Detail, FRAMEWORKS, listen } from './apps';
import { openRequest, sendRaw } from './raw-request';
import { SECRET } from './stores';
import { until } from './until';

/*
 * On each host, clients disconnect during calls to the store, or a middleware answers in the meantime. An uncaught
 * error ends the program. Prints the results as JSON.
 */
const calls = new EventEmitter();
let isFailing = false;

/** Answers late, or fails late. */
function slow(store: Store): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      if (name === 'close') return member.bind(target);
      return async (...args: unknown[]) => {
        const fails = isFailing;
        calls.emit('call', name);
        await sleep(40);
        // Node runs timers before sockets: a client that has hung up is noticed first, also by a process held up.
        await nextTurn();
        await nextTurn();
        calls.emit('end');
        if (fails) throw new SessionError('ERR_STORE_TIMEOUT', 'no answer');
        return member.apply(target, args);
      };
    },
  });
}

/** Disconnects when this method of the store is called. */
async function hangUpAtCall(verb: string, socket: Socket): Promise<void> {
  socket.on('error', () => undefined);
  let [called] = await once(calls, 'call');
  while (called !== verb) [called] = await once(calls, 'call');
  socket.destroy();
}

async function main(): Promise<void> {
  const outcomes: Record<string, unknown> = {};
  for (const [name, build] of Object.entries(FRAMEWORKS)) {
    const manager = new TokenManager<Detail>({ store: slow(new MemoryStore()), secret: SECRET });
    const listener = build(manager, { routes: { '/rotate': (session) => session.rotate() } });
    const app = await listen(listener);
    const cookie = `Cookie: session=${await manager.setToken('ada')}`;
    let hungUp = 0;
    for (isFailing of [false, true]) {
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
    isFailing = false;

    const kept = await manager.setToken('joan');
    await hangUpAtCall('create', openRequest(app.url, 'POST', '/login?user=mary', ['Host: x']));
    await once(calls, 'end');
    await hangUpAtCall('check', openRequest(app.url, 'POST', '/rotate', ['Host: x', `Cookie: session=${kept}`]));
    await sleep(200);
    const orphansOf = async () => (await manager.listUserToken('mary')).length;
    await until('no orphan is left', async () => (await orphansOf()) === 0).catch(() => undefined);
    const orphans = await orphansOf();
    const isKept = (await manager.listUserToken('joan')).join() === kept;
    const { status, setCookie } = await sendRaw(app.url, 'POST', '/login?user=grace', ['Host: x']);
    outcomes[name] = { hungUp, answered, orphans, isKept, status, cookies: setCookie.length };
    await app.close();
    await manager.close();
  }
  console.log(JSON.stringify(outcomes));
}

void main();

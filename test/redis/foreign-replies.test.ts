import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RedisStore, type TokenManager } from 'tokensession';
import { closeAfterEach } from '../support/closing';
import { managerMaker } from '../support/managers';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes } from '../support/stores';

/*
 * A connection whose replies are shifted, as behind a proxy that mixes them up: an application's client that has sent
 * CLIENT REPLY SKIP, to which Redis gives no reply, and none to the next command either.
 */

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const onClose = closeAfterEach();
const newManager = managerMaker(onClose);

const CALLS: Record<string, (manager: TokenManager, token: string) => Promise<unknown>> = {
  setToken: (manager) => manager.setToken('ada'),
  checkToken: (manager, token) => manager.checkToken(token),
  touchToken: (manager, token) => manager.touchToken(token),
  refreshToken: (manager, token) => manager.refreshToken(token),
  deleteToken: (manager, token) => manager.deleteToken(token),
  deleteUserToken: (manager) => manager.deleteUserToken('ada'),
  listUserToken: (manager) => manager.listUserToken('ada'),
  banUser: (manager) => manager.banUser('ada'),
  unbanUser: (manager) => manager.unbanUser('ada'),
  getBan: (manager) => manager.getBan('ada'),
  'sessionData().set': (manager, token) => manager.sessionData(token).set('theme', 'dark'),
};

/** Calls that expect a number, which may as well be that of another command. */
const CALLS_FOR_NUMBERS: typeof CALLS = {
  addUser: (manager) => manager.addUser('ada'),
  deleteUser: (manager) => manager.deleteUser('ada'),
};

/** Commands of the application, by what they reply. */
const FOREIGN: Record<string, (client: Redis) => Promise<unknown>> = {
  'a word': (client) => client.ping(),
  'a number': (client) => client.publish('a channel of no one', ''),
  'a list of words': (client) => client.config('GET', 'maxmemory'),
  'a list of numbers': (client) => client.smismember('no such key', 'a', 'b'),
};

describe.each(Object.entries(FOREIGN))('%s in the place of the reply', (kind, send) => {
  const calls = kind === 'a number' ? CALLS : { ...CALLS, ...CALLS_FOR_NUMBERS };
  it.each(Object.entries(calls))('fails %s with a SessionError, and gives no result', async (_name, call) => {
    const client = new Redis(server.port, server.host);
    onClose(() => client.disconnect());
    jest.spyOn(process, 'emitWarning').mockReturnValue(undefined);
    const store = new RedisStore(client, { ...PATIENT, ...randomPrefixes() });
    const manager = newManager({ store, getUserInfo: (id) => ({ id }) });
    const token = await manager.setToken('ada');
    client.call('CLIENT', 'REPLY', 'SKIP').catch(() => undefined);
    const outcome = call(manager, token).then(
      (value) => ({ value }),
      (error: unknown) => error,
    );
    await sleep(10);
    for (let shift = 0; shift < 5; shift++) send(client).catch(() => undefined);
    expect(await outcome).toMatchObject({ name: 'SessionError' });
    // Lists may look like a damaged record.
    if (!kind.startsWith('a list')) expect(String(await outcome)).not.toContain('deleteUserToken');
    jest.restoreAllMocks();
  });
});

import fc from 'fast-check';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import { tagOf } from '../src/token/token';
import { type Damage, damages, SIDS } from './support/damages';
import { checkPrototypes, prototypeState } from './support/prototypes';
import { type RedisServer, startRedis } from './support/redis-server';
import { PROPERTY_TIMEOUT, runs } from './support/runs';
import { randomPrefixes, SECRET } from './support/stores';

jest.setTimeout(PROPERTY_TIMEOUT);

type Verb = (manager: TokenManager, userId: string, token: string) => Promise<unknown>;

const VERBS: Record<string, Verb> = {
  checkToken: (manager, _, token) => manager.checkToken(token),
  checkTokenOrUpdateUser: (manager, _, token) => manager.checkTokenOrUpdateUser(token),
  touchToken: (manager, _, token) => manager.touchToken(token),
  inspectToken: (manager, _, token) => manager.inspectToken(token, { touch: true }),
  refreshToken: (manager, _, token) => manager.refreshToken(token),
  'refreshToken ttl': (manager, _, token) => manager.refreshToken(token, 60),
  rotateToken: (manager, _, token) => manager.rotateToken(token),
  reauthenticateToken: (manager, _, token) => manager.reauthenticateToken(token),
  listUserToken: (manager, userId) => manager.listUserToken(userId),
  listUserSessions: (manager, userId) => manager.listUserSessions(userId),
  setToken: (manager, userId) => manager.setToken(userId, 60, { device: 'web' }),
  createSession: (manager, userId, token) => manager.createSession(userId, { replaces: [token] }),
  deleteToken: (manager, _, token) => manager.deleteToken(token),
  deleteSession: (manager, userId) => manager.deleteSession(userId, SIDS[0] as string, { message: 'bye' }),
  'deleteUserToken except': (manager, userId, token) => manager.deleteUserToken(userId, { except: token }),
  deleteUserToken: (manager, userId) => manager.deleteUserToken(userId),
  banUser: (manager, userId) => manager.banUser(userId, { seconds: 60, reason: 'so' }),
  getBan: (manager, userId) => manager.getBan(userId),
  unbanUser: (manager, userId) => manager.unbanUser(userId),
  deleteUser: (manager, userId) => manager.deleteUser(userId),
};

/** What may be wrong with a record, and what a record may say of a login. */
const CODES = ['ERR_STORE_CORRUPT', 'ERR_STORE_LAYOUT', 'ERR_USER_BANNED', 'ERR_TOO_MANY_SESSIONS'];

describe('whatever is in a user’s keys in Redis', () => {
  const prefixes = randomPrefixes();
  let server: RedisServer;
  let manager: TokenManager;
  let users = 0;
  beforeAll(async () => {
    server = await startRedis();
    manager = new TokenManager({
      store: new RedisStore(server.url, prefixes),
      secret: SECRET,
      maxSessionsPerDevice: 2,
    });
    await manager.setToken('ada');
  });
  afterAll(async () => {
    await manager.close();
    await server.stop();
  });

  const verbs = fc.shuffledSubarray(Object.keys(VERBS), { minLength: 1, maxLength: 8 });

  it('each call gives that user’s sessions, none, or an error that says the record is damaged', async () => {
    const before = prototypeState();
    const property = fc
      .asyncProperty(fc.array(damages, { minLength: 1, maxLength: 4 }), verbs, async (all, names) => {
        const { userId, token } = await damagedUser(all);
        for (const name of names) {
          const outcome = await (VERBS[name] as Verb)(manager, userId, token).catch((error: unknown) => error);
          checkOutcome(name, outcome, userId);
        }
      })
      .afterEach(() => checkPrototypes(before));
    await fc.assert(property, runs(700));
  });

  it('deleteUserToken ends what is damaged, and the user can log in again', async () => {
    const property = fc.asyncProperty(fc.array(damages, { minLength: 1, maxLength: 4 }), async (all) => {
      fc.pre(all.every(({ layout, isForeign, isBan }) => !isForeign && !isBan && (layout ?? '1') === '1'));
      const { userId, token } = await damagedUser(all);
      await manager.deleteUserToken(userId);
      expect(await manager.checkToken(token)).toBeNull();
      expect(await manager.listUserToken(userId)).toEqual([]);
      const again = await manager.setToken(userId);
      expect(await manager.listUserToken(userId)).toEqual([again]);
    });
    await fc.assert(property, runs(200));
  });

  /** A user whose record was right before this was done to it. The token is of the session in it. */
  async function damagedUser(all: readonly Damage[]): Promise<{ userId: string; token: string }> {
    const userId = `user ${users++}`;
    const tag = tagOf(userId);
    const keys = { sessions: `${prefixes.tokenKeyPrefix}:{${tag}}`, info: `${prefixes.userKeyPrefix}:{${tag}}` };
    const token = await manager.setToken(userId, 60, { device: 'web', ip: '::1' });
    const inOrder = all.toSorted((a, b) => Number(a.isLast ?? false) - Number(b.isLast ?? false));
    for (const damage of inOrder)
      await damage.apply(server.admin, keys, { sid: token.split('.')[1] as string, userId });
    return { userId, token };
  }
});

function checkOutcome(name: string, outcome: unknown, userId: string): void {
  if (outcome instanceof Error) {
    if (outcome instanceof SessionError && CODES.includes(outcome.code)) return;
    const cause = outcome.cause instanceof Error ? outcome.cause.message : '';
    throw new Error(`${name} rejected with ${outcome.name}: ${outcome.message} ${cause}`);
  }
  const sessions = Array.isArray(outcome) ? outcome : [outcome];
  for (const found of sessions) {
    if (typeof found !== 'object' || found === null) continue;
    const session = 'session' in found ? found.session : found;
    if (session === null) continue;
    if ('user' in session) expect(session.user.id).toBe(userId);
    const dates = Object.values(session).filter((value) => value instanceof Date);
    if (dates.some((date) => Number.isNaN(date.getTime()))) throw new Error(`${name} gave a time that is none`);
  }
}

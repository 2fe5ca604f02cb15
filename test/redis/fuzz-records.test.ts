import fc from 'fast-check';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { tagOf } from '../../src/token/token';
import { applyAll, type Damage, damages, dataDamages, SIDS } from '../support/damages';
import { checkPrototypes, prototypeState } from '../support/prototypes';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';
import { idOf } from '../support/session-id';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';

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

/** The methods for session data, of users and of visitors. */
const DATA_VERBS: Record<string, Verb> = {
  'data.getAll': (manager, _, token) => manager.sessionData(token).getAll(),
  'data.get': (manager, _, token) => manager.sessionData(token).get('k'),
  'data.set': (manager, _, token) => manager.sessionData(token).set('k', [1]),
  'data.pop': (manager, _, token) => manager.sessionData(token).pop('k'),
  'data.increment': (manager, _, token) => manager.sessionData(token).increment('n'),
  'data.update': (manager, _, token) => manager.sessionData(token).update('k', () => 1),
  'data.clear': (manager, _, token) => manager.sessionData(token).clear(),
  storedData: (manager, _, token) => requestSessionsOf(manager).storedData(token, ['k']),
  'openToken with data': (manager, _, token) => requestSessionsOf(manager).open(token, true),
};

const VISITOR_VERBS: Record<string, Verb> = {
  ...DATA_VERBS,
  openVisitor: (manager, _, token) => requestSessionsOf(manager).openVisitor(token, false),
  'openVisitor with data': (manager, _, token) => requestSessionsOf(manager).openVisitor(token, true),
  checkToken: (manager, _, token) => manager.checkToken(token),
  deleteToken: (manager, _, token) => manager.deleteToken(token),
  'createSession replaces': (manager, userId, token) => manager.createSession(userId, { replaces: [token] }),
};

/** Damages to a record, and the login that a record describes. */
const CODES = [
  'ERR_STORE_CORRUPT',
  'ERR_STORE_LAYOUT',
  'ERR_USER_BANNED',
  'ERR_TOO_MANY_SESSIONS',
  'ERR_NO_SESSION',
  'ERR_DATA_TOO_LARGE',
];

describe('with arbitrary content in a user’s keys in Redis,', () => {
  const prefixes = randomPrefixes();
  let server: RedisServer;
  let manager: TokenManager;
  let users = 0;
  beforeAll(async () => {
    server = await startRedis();
    manager = new TokenManager({
      store: new RedisStore(server.url, { ...PATIENT, ...prefixes }),
      secret: SECRET,
      maxSessionsPerDevice: 2,
    });
    await manager.setToken('ada');
  });
  afterAll(async () => {
    await manager.close();
    await server.stop();
  });

  const some = (verbs: Record<string, Verb>) => fc.shuffledSubarray(Object.keys(verbs), { minLength: 1, maxLength: 8 });

  const ALL = { ...VERBS, ...DATA_VERBS };

  it('each call gives that user’s sessions, none, or an error that says the record is damaged', async () => {
    const before = prototypeState();
    const property = fc
      .asyncProperty(fc.array(damages, { minLength: 1, maxLength: 4 }), some(ALL), async (all, names) => {
        const { userId, token } = await damagedUser(all);
        for (const name of names) {
          const outcome = await (ALL[name] as Verb)(manager, userId, token).catch((error: unknown) => error);
          checkOutcome(name, outcome, userId);
        }
      })
      .afterEach(() => checkPrototypes(before));
    await fc.assert(property, runs(700));
  });

  it('each call gives that visitor’s session, none, or such an error, and never a user', async () => {
    const before = prototypeState();
    const property = fc
      .asyncProperty(fc.array(damages, { minLength: 1, maxLength: 4 }), some(VISITOR_VERBS), async (all, names) => {
        const token = await damagedVisitor(all);
        const userId = `user ${users++}`;
        for (const name of names) {
          const outcome = await (VISITOR_VERBS[name] as Verb)(manager, userId, token).catch((error: unknown) => error);
          checkOutcome(name, outcome, name.startsWith('createSession') ? userId : null);
        }
      })
      .afterEach(() => checkPrototypes(before));
    await fc.assert(property, runs(400));
  });

  it('a visitor can log in and log out', async () => {
    const property = fc.asyncProperty(dataDamages, async (damage) => {
      const [first, second] = [await damagedVisitor([damage]), await damagedVisitor([damage])];
      expect(await manager.deleteToken(first)).toBe(true);
      await manager.createSession('ada', { replaces: [second] });
      expect(await requestSessionsOf(manager).openVisitor(second, false)).toBeNull();
    });
    await fc.assert(property, runs(100));
  });

  it('deleteUserToken removes damaged sessions, and the user can log in again', async () => {
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

  /** A user whose valid record was then damaged so. The token belongs to its session. */
  async function damagedUser(all: readonly Damage[]): Promise<{ userId: string; token: string }> {
    const userId = `user ${users++}`;
    const tag = tagOf(userId);
    const token = await manager.setToken(userId, 60, { device: 'web', ip: '::1' });
    await manager.sessionData(token).set({ k: 'value', n: 1 });
    await damageAll(all, tag, { sid: idOf(token), userId });
    return { userId, token };
  }

  /** The token of a visitor whose valid record was then damaged so. */
  async function damagedVisitor(all: readonly Damage[]): Promise<string> {
    const { id: sid, token } = await requestSessionsOf(manager).startVisitor(new Map([['k', '"value"']]));
    await damageAll(all, sid, { sid, userId: '' });
    return token;
  }

  async function damageAll(all: readonly Damage[], tag: string, own: { sid: string; userId: string }): Promise<void> {
    const keys = { sessions: `${prefixes.tokenKeyPrefix}:{${tag}}`, info: `${prefixes.userKeyPrefix}:{${tag}}` };
    await applyAll(all, server.admin, keys, own);
  }
});

/** @param userId `null` for a visitor. */
function checkOutcome(name: string, outcome: unknown, userId: string | null): void {
  if (outcome instanceof Error) {
    if (outcome instanceof SessionError && CODES.includes(outcome.code)) return;
    if (name === 'data.increment' && outcome instanceof TypeError) return;
    const cause = outcome.cause instanceof Error ? outcome.cause.message : '';
    throw new Error(`${name} rejected with ${outcome.name}: ${outcome.message} ${cause}`);
  }
  const sessions = Array.isArray(outcome) ? outcome : [outcome];
  for (const found of sessions) {
    if (typeof found !== 'object' || found === null) continue;
    const session = 'session' in found ? found.session : found;
    if (session === null) continue;
    if ('user' in session) expect(session.user?.id ?? null).toBe(userId);
    const dates = Object.values(session).filter((value) => value instanceof Date);
    if (dates.some((date) => Number.isNaN(date.getTime()))) throw new Error(`${name} gave a time that is none`);
  }
}

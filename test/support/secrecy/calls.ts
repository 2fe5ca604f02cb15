import type { TokenManager } from 'tokensession';
import { idOf } from '../session-id';
import type { Witness } from './witness';

type Call = (manager: TokenManager<never>) => unknown;

/** Calls that the manager rejects, or that find nothing, because a token is in the wrong place. */
export const misplacedTokens = (token: string, others: string): Call[] => {
  const value = token as never;
  const long = token.repeat(20);
  return [
    (m) => m.setToken(long),
    (m) => m.setToken([value] as never),
    (m) => m.setToken('ada', value),
    (m) => m.setToken('ada', 60, value),
    (m) => m.setToken('ada', 60, { [token]: 'x' } as never),
    (m) => m.setToken('ada', 60, { device: long }),
    (m) => m.setToken('ada', 60, { userAgent: [token] as never }),
    (m) => m.createSession('ada', value),
    (m) => m.createSession('ada', { ttl: value }),
    (m) => m.createSession('ada', { absoluteTtl: value }),
    (m) => m.createSession('ada', { replaces: value }),
    (m) => m.createSession('ada', { token } as never),
    (m) => m.createSession('ada', { [token]: 1 } as never),
    (m) => m.refreshToken(token, value),
    (m) => m.checkTokenOrUpdateUser(token, value),
    (m) => m.touchToken(token, value),
    (m) => m.inspectToken(token, value),
    (m) => m.inspectToken(token, { touch: value }),
    (m) => m.inspectToken(token, { userInfoTtl: value }),
    (m) => m.listUserToken(token),
    (m) => m.listUserSessions(token),
    (m) => m.deleteUserToken(token),
    (m) => m.deleteUserToken(token, value),
    (m) => m.deleteUserToken('nobody', { except: others }),
    (m) => m.deleteUserToken('nobody', { except: [token] as never }),
    (m) => m.deleteUserToken('ada', { message: long }),
    (m) => m.deleteUserToken('ada', { [token]: 1 } as never),
    (m) => m.deleteSession(token, token),
    (m) => m.deleteSession('ada', token),
    (m) => m.deleteSession('ada', 7 as never),
    (m) => m.deleteSession('ada', [token] as never),
    (m) => m.deleteSession('ada', others, value),
    (m) => m.deleteSession('ada', others, { message: long }),
    (m) => m.banUser('nobody', value),
    (m) => m.banUser('nobody', { seconds: value }),
    (m) => m.banUser('nobody', { reason: long }),
    (m) => m.banUser({ token } as never),
    (m) => m.unbanUser(token),
    (m) => m.getBan(token),
    (m) => m.addUser('nobody', value),
    (m) => m.addUser(long),
    (m) => m.refreshUser(value),
    (m) => m.refreshUser([`${token}\ud800`, token]),
    (m) => m.refreshUser(['ada'], value),
    (m) => m.refreshUser(['broken']),
    (m) => m.deleteUser(token),
    (m) => m.on(value, () => undefined),
    (m) => m.on('login', value),
    (m) => m.rotateToken(`${token}x`),
    (m) => m.reauthenticateToken(token.slice(1)),
  ];
};

/** Every call to the store, with texts that Redis may repeat in errors: an application may pass a token as a text. */
const askingCalls = (token: string): Call[] => [
  (m) => m.setToken(token, 60, { device: token, userAgent: token }),
  (m) => m.createSession('ada', { replaces: [token], attributes: { ip: token } }),
  (m) => m.refreshToken(token, 60),
  (m) => m.deleteToken(token),
  (m) => m.checkToken(token),
  (m) => m.checkTokenOrUpdateUser(token),
  (m) => m.touchToken(token),
  (m) => m.inspectToken(token),
  (m) => m.rotateToken(token),
  (m) => m.reauthenticateToken(token),
  (m) => m.listUserToken('ada'),
  (m) => m.listUserSessions(token),
  (m) => m.deleteUserToken('ada', { except: token, message: token }),
  (m) => m.deleteSession('ada', idOf(token), { message: token }),
  (m) => m.banUser('eve', { reason: token }),
  (m) => m.unbanUser(token),
  (m) => m.getBan(token),
  (m) => m.addUser(token),
  (m) => m.refreshUser([token, 'ada']),
  (m) => m.deleteUser(token),
];

/** Makes every call on a store that fails, and reads its health. */
export async function callEverything(
  where: string,
  manager: TokenManager<never>,
  token: string,
  witness: Witness,
): Promise<void> {
  const calls = askingCalls(token);
  await Promise.all(calls.map((call, i) => witness.failure(`${where}: call ${i}`, () => call(manager))));
  witness.value(`${where}: health`, await manager.health());
}

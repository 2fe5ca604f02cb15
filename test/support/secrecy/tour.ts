import { setTimeout as sleep } from 'node:timers/promises';
import type { TokenManager } from 'tokensession';
import type { Detail } from '../apps';
import { APPS, WRONG_PATHS } from './apps';
import { inCookie, inHeader, type Send, withClient } from './client';
import type { Witness } from './witness';

/** Seconds for which a short session lives, and a proof of identity counts as recent. */
const BRIEF = 1;

/**
 * Makes all requests that an application supports, on both frameworks. The manager's `onLimit` is `'reject'`, its
 * `maxSessionsPerDevice` 2 for a `tv`, its grace 0. Its `getUserInfo` does not know `nobody` and throws for `broken`.
 */
export async function tourOfHttp(manager: TokenManager<Detail>, witness: Witness): Promise<void> {
  const tours = Object.entries(APPS).map(([framework, build]) =>
    withClient(build(manager, {}, witness), witness, (send) => tour(send, manager, framework)),
  );
  await Promise.all(tours);
}

async function tour(send: Send, manager: TokenManager<Detail>, framework: string): Promise<void> {
  const users = (name: string) => `${name}-${framework}`;
  const login = (name: string, ...headers: string[]) => send('POST', `/login?user=${users(name)}`, ...headers);

  const brief = await send('POST', `/login?user=${users('brief')}&ttl=${BRIEF}`);
  const old = await login('old');
  await send('GET', '/me');
  const ada = await login('ada');
  for (const path of ['/me', '/session', '/log', '/vault', '/nowhere', ...WRONG_PATHS]) {
    await send('GET', path, inCookie(ada));
    await send('GET', path, inHeader(ada));
  }
  for (const headers of malformed(ada, await login('grace'), await login('ada'))) await send('GET', '/me', ...headers);
  for (const from of ['Origin: https://evil.example', 'Sec-Fetch-Site: cross-site']) {
    await send('POST', '/session', inCookie(ada), from);
  }
  await login('ada', inCookie(ada));
  await send('GET', '/me', inCookie(ada));
  await send('POST', '/late-login');

  const failing = await send('POST', '/login-and-fail');
  await send('POST', '/rotate-and-fail', inCookie(failing));
  await send('GET', '/me', inCookie(failing));

  const first = await login('rotating');
  const second = await send('POST', '/rotate', inCookie(first));
  const third = await send('POST', '/reauthenticated', inCookie(second));
  await send('POST', '/late-rotate', inCookie(third));
  await send('POST', '/rotate', inHeader(await login('rotating')));
  for (const token of [first, third]) await send('GET', '/me', inCookie(token));

  const leaving = await login('leaving');
  await login('leaving');
  await send('POST', '/logout?everywhere', inCookie(leaving));
  await send('POST', '/logout', inHeader(await login('leaving')));
  await send('POST', '/logout', inCookie(leaving));

  const kicked = await login('kicked');
  await manager.deleteUserToken(users('kicked'), { message: 'Your password was changed' });
  await send('GET', '/me', inCookie(kicked));
  const banned = await login('banned');
  await manager.banUser(users('banned'), { reason: 'spam' });
  await send('GET', '/me', inCookie(banned));
  await login('banned');
  for (let i = 0; i < 4; i++) await login('crowded');
  for (const name of ['nobody', 'broken']) await send('POST', `/login?user=${name}`);

  await sleep(BRIEF * 1000 + 100);
  await send('GET', '/me', inCookie(brief));
  await send('GET', '/vault', inCookie(old));
  await send('GET', '/vault', inCookie(await send('POST', '/reauthenticated', inCookie(old))));
}

/** Headers with a real token in a wrong place, or in a wrong form. */
function malformed(token: string, others: string, own: string): string[][] {
  const forged = `${token.slice(0, -2)}${token.endsWith('AA') ? 'BB' : 'AA'}`;
  const cookies = [
    ...[`"session=${token}"`, `session="${token}"`, `session=${token}%20`, `session = ${token} `, `=${token}`, token],
    ...[
      `session=${token}${token}`,
      `Session=${token}`,
      `session=;x=${token}`,
      `session=${forged}`,
      `session=%${token}`,
    ],
    ...[`session=${token}; session=${own}`, `session=${token}; session=${others}; session=${forged}`],
    ...[`session=${token}\x80\xff`, `__Host-session=${token}`, `session=${token.split('.').reverse().join('.')}`],
    `session=${token}; session=${token}x; session=x${token}`,
  ];
  const authorizations = [
    ...[`Bearer ${token} ${others}`, `Bearer "${token}"`, `Bearer ${forged}`, `Bearer${token}`, token],
    `Basic ${Buffer.from(`ada:${token}`).toString('base64')}`,
  ];
  return [
    ...cookies.map((cookie) => [`Cookie: ${cookie}`]),
    ...authorizations.map((authorization) => [`Authorization: ${authorization}`]),
    [inHeader(token), inCookie(others)],
    [inCookie(token), inCookie(others)],
  ];
}

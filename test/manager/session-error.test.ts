import { inspect } from 'node:util';
import { MemoryStore, SessionError, TokenManager } from 'tokensession';
import { SECRET } from '../support/stores';

it('a SessionError has no property, and prints none, that does not apply to it', async () => {
  const banned = new SessionError('ERR_USER_BANNED', 'this user is banned');
  for (const name of ['headers', 'endReason', 'endMessage', 'outcome']) expect(name in banned).toBe(false);
  expect(inspect(banned)).not.toContain('undefined');

  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  const token = await manager.setToken('ada');
  const signal = manager.watch(token);
  const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
  await manager.deleteUserToken('ada');
  await aborted;
  expect(signal.reason).toMatchObject({ code: 'ERR_SESSION_ENDED', endReason: 'revoked' });
  expect('endMessage' in signal.reason).toBe(false);
});

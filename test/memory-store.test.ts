import { MemoryStore, TokenManager } from 'tokensession';
import { SECRET } from './support/stores';

it('MemoryStore sweeps expired sessions and user info away without a request for them', async () => {
  jest.useFakeTimers();
  try {
    const store = new MemoryStore({ sweepEvery: 10 });
    const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => 'x', userInfoTtl: 5 });
    for (let i = 0; i < 100; i++) await sessions.setToken(`user ${i}`, 5);
    await sessions.setToken('user 0', 60);
    expect(store.size).toBe(101);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(store.size).toBe(1);
    await sessions.close();
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});

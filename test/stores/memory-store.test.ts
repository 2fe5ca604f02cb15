import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { MemoryStore, TokenManager } from 'tokensession';
import { ROOT } from '../support/doc-pages';
import { SECRET } from '../support/stores';

describe('MemoryStore', () => {
  it('removes expired sessions and user info without a request for them', async () => {
    jest.useFakeTimers();
    try {
      const store = new MemoryStore({ sweepEvery: 10 });
      const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => 'x', userInfoTtl: 5 });
      for (let i = 0; i < 100; i++) await sessions.createSession(`user ${i}`, { ttl: 5 });
      await sessions.setToken('user 0', 60);
      await sessions.addUser('user 0', 60);
      expect(store.size).toEqual({ sessions: 101, userInfo: 100 });
      await jest.advanceTimersByTimeAsync(10_000);
      expect(store.size).toEqual({ sessions: 1, userInfo: 100 });
      // For a minute the store remembers the version of the expired info.
      await jest.advanceTimersByTimeAsync(60_000);
      expect(store.size).toEqual({ sessions: 1, userInfo: 0 });
      await sessions.close();
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  it('takes a clock that counts fractions of milliseconds', async () => {
    const sessions = new TokenManager({ store: new MemoryStore({ now: () => Date.now() + 0.25 }), secret: SECRET });
    const token = await sessions.setToken('ada');
    expect(await sessions.touchToken((await sessions.rotateToken(token)) as string)).not.toBeNull();
  });

  it('does not keep a process from ending, closed or not', async () => {
    const program = `
      const { MemoryStore } = require('tokensession');
      new MemoryStore();
      new MemoryStore().close();
      console.log('made');
    `;
    const args = ['--import', 'tsx', '--eval', program];
    expect((await promisify(execFile)(process.execPath, args, { cwd: ROOT, timeout: 60_000 })).stdout).toBe('made\n');
  });
});

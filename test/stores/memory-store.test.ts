import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { MemoryStore, TokenManager } from 'tokensession';
import { ROOT } from '../support/doc-pages';
import { inHeader, usedHeap } from '../support/heap';
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

  it('keeps no request header in memory with an ended session, by its token or by its id', async () => {
    const sessions = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    const started = Array.from({ length: 300 }, (_, i) => sessions.createSession(`user ${i}`));
    const [first, ...others] = await Promise.all(started);
    const before = usedHeap();
    await sessions.createSession('ada', { replaces: others.slice(150).map(({ token }) => inHeader(token)) });
    for (const { user, id } of others.slice(0, 150)) await sessions.deleteSession(user.id, inHeader(id));
    // Far below the 30 MB of headers.
    expect(usedHeap() - before).toBeLessThan(5_000_000);
    expect((await sessions.inspectToken(others[0]?.token as string)).reason).toBe('revoked');
    expect((await sessions.inspectToken(others[200]?.token as string)).reason).toBe('replaced');
    expect(await sessions.checkToken(first?.token as string)).not.toBeNull();
    await sessions.close();
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

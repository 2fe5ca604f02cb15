import { SessionError } from '../../src/errors/session-error';
import { type Revocation, Revocations } from '../../src/redis/revocations/revocations';
import { inHeader, usedHeap } from '../support/heap';

/** The policy alone, with a clock of its own; sentinel.test.ts and cluster.test.ts show it at work. */
let server: string;
let repeated: [key: string, revocation: Revocation][];
let failure: Error | null;
let revocations: Revocations;

const endsAt = (moment: number, ...sids: string[]) => sids.map((sid) => ({ sid, moment }));
const ended = (...sids: string[]): Revocation => ({ ends: endsAt(1, ...sids), before: 0, except: '' });
const kick = (before: number, except = ''): Revocation => ({ ends: [], before, except });

beforeEach(() => {
  jest.useFakeTimers();
  server = 'first';
  repeated = [];
  failure = null;
  revocations = new Revocations({
    serverOf: () => server,
    async revoke(key, revocation) {
      if (failure !== null) throw failure;
      repeated.push([key, revocation]);
    },
  });
});
afterEach(() => {
  revocations.forget();
  jest.useRealTimers();
});

/** Runs a replay, and waits for its replies. */
async function replay(): Promise<typeof repeated> {
  repeated = [];
  revocations.replay();
  await jest.advanceTimersByTimeAsync(0);
  return repeated;
}

describe('a revocation', () => {
  it('keeps no request header in memory', () => {
    const before = usedHeap();
    for (let i = 0; i < 300; i++) {
      const ids = [1, 2].map((number) => inHeader(`session ${number} of user ${i}`));
      revocations.record(
        `user ${i}`,
        { ...ended(...ids), before: 1, except: inHeader(`another of user ${i}`) },
        'first',
      );
    }
    // Far below the 90 MB of headers.
    expect(usedHeap() - before).toBeLessThan(5_000_000);
  });

  it('is repeated once when the key moves to another server, and not to the server that has it', async () => {
    revocations.record('ada', ended('a', 'b'), 'first');
    expect(await replay()).toEqual([]);
    server = 'second';
    expect(await replay()).toEqual([['ada', ended('a', 'b')]]);
    expect(await replay()).toEqual([]);
  });

  it('is repeated to the same server when that reconnects, and only then', async () => {
    revocations.record('ada', ended('a'), 'first');
    revocations.lost('another');
    expect(await replay()).toEqual([]);
    revocations.lost('first');
    expect(await replay()).toEqual([['ada', ended('a')]]);
    revocations.lost();
    expect(await replay()).toEqual([['ada', ended('a')]]);
  });

  it('if a kick, replaces an earlier one, but no later one, and never the end of a single session', async () => {
    revocations.record('ada', kick(100, 'kept'), 'first');
    revocations.record('ada', kick(200), 'first');
    revocations.record('ada', kick(150, 'kept'), 'first');
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    expect(await replay()).toEqual([['ada', { ends: endsAt(1, 'a'), before: 200, except: '' }]]);
  });

  it('if a kick after the clock was set back, ends the session that an earlier one kept', async () => {
    revocations.record('ada', kick(100, 'kept'), 'first');
    revocations.record('ada', kick(90), 'first');
    revocations.lost();
    expect(await replay()).toEqual([['ada', { ends: endsAt(89, 'kept'), before: 100, except: 'kept' }]]);
    revocations.record('grace', kick(100, 'kept'), 'first');
    revocations.record('grace', kick(90, 'kept'), 'first');
    server = 'second';
    expect((await replay()).at(-1)).toEqual(['grace', kick(100, 'kept')]);
  });

  it('if a kick in the same millisecond as an earlier one, replaces it', async () => {
    revocations.record('ada', kick(100, 'kept'), 'first');
    revocations.record('ada', kick(100), 'first');
    revocations.lost();
    expect(await replay()).toEqual([['ada', kick(100)]]);
  });

  it('if a ban, is repeated with its message; the last one of a user counts', async () => {
    const ban = { userId: 'ada', text: '100:0:spam' };
    revocations.record('ada', { ...kick(100), ban }, 'first');
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    expect(await replay()).toEqual([['ada', { ends: endsAt(1, 'a'), before: 100, except: '', ban }]]);
    const lifted = { userId: 'ada', text: '100:150:' };
    revocations.record('ada', { ...ended(), ban: lifted }, 'first');
    revocations.lost();
    expect(await replay()).toEqual([['ada', { ends: endsAt(1, 'a'), before: 100, except: '', ban: lifted }]]);
  });

  it('is remembered for a minute after a server last received it', async () => {
    revocations.record('ada', ended('old'), 'first');
    await jest.advanceTimersByTimeAsync(30_000);
    revocations.record('ada', ended('young'), 'first');
    await jest.advanceTimersByTimeAsync(31_000);
    revocations.record('grace', ended('other'), 'first');
    revocations.record('ada', ended('new'), 'first');
    revocations.lost();
    expect(await replay()).toEqual([
      ['grace', ended('other')],
      ['ada', ended('young', 'new')],
    ]);
    await jest.advanceTimersByTimeAsync(61_000);
    revocations.record('joan', ended('last'), 'first');
    revocations.lost();
    expect(await replay()).toEqual([['joan', ended('last')]]);
  });

  it('that a server received longer ago is not repeated, whatever happens to the server', async () => {
    revocations.record('ada', ended('a'), 'first');
    await jest.advanceTimersByTimeAsync(61_000);
    revocations.lost();
    expect(await replay()).toEqual([]);
    revocations.record('ada', ended('b'), 'first');
    await jest.advanceTimersByTimeAsync(61_000);
    server = 'second';
    expect(await replay()).toEqual([]);
  });

  it('if a ban or a kick, is forgotten a minute later, although other sessions of the user have ended since', async () => {
    const ban = { userId: 'ada', text: '100:0:' };
    revocations.record('ada', { ...kick(100, 'kept'), ban }, 'first');
    for (let i = 0; i < 2; i++) {
      await jest.advanceTimersByTimeAsync(40_000);
      revocations.record('ada', ended(`a${i}`), 'first');
    }
    revocations.lost();
    expect(await replay()).toEqual([['ada', ended('a0', 'a1')]]);
    revocations.record('ada', { ...kick(200), ban }, 'first');
    await jest.advanceTimersByTimeAsync(20 * 60_000);
    [server, repeated] = ['second', []];
    revocations.record('ada', ended('b'), 'second');
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toEqual([['ada', ended('b')]]);
  });

  it('that a server received longer ago is not repeated with a later one of the same user', async () => {
    const ban = { userId: 'ada', text: '100:0:' };
    revocations.record('ada', { ...kick(100), ends: endsAt(1, 'old'), ban }, 'first');
    await jest.advanceTimersByTimeAsync(50_000);
    revocations.record('ada', ended('young'), 'first');
    await jest.advanceTimersByTimeAsync(50_000);
    revocations.lost();
    expect(await replay()).toEqual([['ada', ended('young')]]);
  });

  it('if a ban, is remembered for a minute after its repetition', async () => {
    const ban = { userId: 'ada', text: '100:0:' };
    revocations.record('ada', { ...kick(100), ban }, 'first');
    await jest.advanceTimersByTimeAsync(40_000);
    revocations.lost();
    await replay();
    await jest.advanceTimersByTimeAsync(40_000);
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    expect(await replay()).toEqual([['ada', { ...kick(100), ends: endsAt(1, 'a'), ban }]]);
  });

  it('is remembered while the server that received it is disconnected', async () => {
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    await jest.advanceTimersByTimeAsync(120_000);
    server = 'second';
    revocations.record('grace', ended('b'), 'second');
    expect(await replay()).toEqual([['ada', ended('a')]]);
  });

  it('is remembered for as long as the server that holds the key by now refuses it', async () => {
    revocations.record('ada', ended('a'), 'first');
    server = 'second';
    failure = new SessionError('ERR_STORE_UNAVAILABLE', 'refused');
    expect(await replay()).toEqual([]);
    await jest.advanceTimersByTimeAsync(120_000);
    failure = null;
    await jest.advanceTimersByTimeAsync(500);
    expect(repeated).toEqual([['ada', ended('a')]]);
  });

  it('that could not be repeated is retried until it succeeds', async () => {
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    failure = new SessionError('ERR_STORE_TIMEOUT', 'no answer');
    expect(await replay()).toEqual([]);
    await jest.advanceTimersByTimeAsync(5000);
    failure = null;
    await jest.advanceTimersByTimeAsync(5000);
    expect(repeated).toEqual([['ada', ended('a')]]);
  });

  it('is repeated whole when a later one of the same user was acknowledged first', async () => {
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    server = 'second';
    revocations.record('ada', ended('b'), 'second');
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toEqual([['ada', ended('a', 'b')]]);
  });

  it('acknowledged by a server that no longer holds the key is repeated to the one that does', async () => {
    revocations.record('ada', ended('a'), null);
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toEqual([['ada', ended('a')]]);
    expect(await replay()).toEqual([]);
  });

  it('of a damaged record is given up', async () => {
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    failure = new SessionError('ERR_STORE_CORRUPT', 'damaged');
    expect(await replay()).toEqual([]);
    failure = null;
    expect(await replay()).toEqual([]);
  });

  it('is kept when it comes while an earlier one of the same user is being repeated', async () => {
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    failure = new SessionError('ERR_STORE_TIMEOUT', 'no answer');
    revocations.replay();
    revocations.record('ada', ended('b'), 'first');
    await jest.advanceTimersByTimeAsync(0);
    failure = null;
    await jest.advanceTimersByTimeAsync(1000);
    expect(repeated).toEqual([['ada', ended('a', 'b')]]);
  });

  it('is repeated whole when it comes while an earlier one of the same user is being repeated', async () => {
    revocations.record('ada', ended('a'), 'first');
    revocations.lost();
    revocations.replay();
    revocations.record('ada', ended('b'), 'first');
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toEqual([
      ['ada', ended('a')],
      ['ada', { ...ended(), ends: expect.arrayContaining(endsAt(1, 'a', 'b')) }],
    ]);
    expect(await replay()).toEqual([]);
  });

  it('does not wait for others that are held up by a missing server', async () => {
    const dead = new Revocations({
      serverOf: (key) => (key.startsWith('dead') ? 'dead' : 'second'),
      async revoke(key, revocation) {
        if (key.startsWith('dead')) throw new SessionError('ERR_STORE_UNAVAILABLE', 'gone');
        repeated.push([key, revocation]);
      },
    });
    for (let i = 0; i < 600; i++) dead.record(`dead-${i}`, ended('a'), 'dead');
    for (let i = 0; i < 600; i++) dead.record(`user-${i}`, ended('a'), 'first');
    dead.lost();
    dead.replay();
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toHaveLength(600);
    dead.forget();
  });

  it('does not wait for those to a silent server that was tried before', async () => {
    const partly = new Revocations({
      serverOf: (key) => (key === 'silent' ? 'silent' : server),
      async revoke(key, revocation) {
        if (key === 'silent') await new Promise(() => undefined);
        repeated.push([key, revocation]);
      },
    });
    partly.record('silent', ended('a'), 'silent');
    partly.record('ada', ended('a'), 'first');
    partly.lost('silent');
    partly.replay();
    server = 'second';
    partly.replay();
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toEqual([['ada', ended('a')]]);
    partly.forget();
  });

  it('is not repeated any more once it is forgotten, not even by a replay that has begun', async () => {
    for (let i = 0; i < 600; i++) revocations.record(`user-${i}`, kick(100), 'first');
    revocations.lost();
    revocations.replay();
    revocations.forget();
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toHaveLength(500);
    // The replies of that replay bring none back: they would end sessions of another database.
    revocations.lost();
    expect(await replay()).toEqual([]);
  });

  it('is repeated in batches, and no further while the first batch fails', async () => {
    for (let i = 0; i < 1200; i++) revocations.record(`user-${i}`, ended('a'), 'first');
    revocations.lost();
    let calls = 0;
    const failing = new Revocations({
      serverOf: () => 'first',
      async revoke() {
        calls++;
        throw new SessionError('ERR_STORE_UNAVAILABLE', 'refused');
      },
    });
    for (let i = 0; i < 1200; i++) failing.record(`user-${i}`, ended('a'), 'first');
    failing.lost();
    failing.replay();
    expect(calls).toBe(500);
    await jest.advanceTimersByTimeAsync(0);
    expect(calls).toBe(500);
    await jest.advanceTimersByTimeAsync(60_000);
    // Few at each later try, however long the server has refused: it may serve from any moment on.
    expect(calls).toBe(500 + 120 * 10);
    failing.forget();
    revocations.replay();
    expect(repeated).toHaveLength(500);
    await jest.advanceTimersByTimeAsync(0);
    expect(repeated).toHaveLength(1200);
  });

  it('is repeated although those of other users of the same server fail', async () => {
    const isRefused = (key: string) => Number(key.slice('user-'.length)) < 5;
    const partly = new Revocations({
      serverOf: () => 'first',
      async revoke(key, revocation) {
        if (failure !== null || isRefused(key)) throw new SessionError('ERR_STORE_UNAVAILABLE', 'refused');
        repeated.push([key, revocation]);
      },
    });
    for (let i = 0; i < 600; i++) partly.record(`user-${i}`, ended('a'), 'first');
    partly.lost();
    failure = new Error('all are refused');
    partly.replay();
    await jest.advanceTimersByTimeAsync(40_000);
    failure = null;
    await jest.advanceTimersByTimeAsync(500);
    expect(repeated).toHaveLength(595);
    partly.forget();
  });

  it('is the latest of those of one session, so that a repeated logout displaces no other end', async () => {
    revocations.record('ada', { ends: endsAt(100, 'a', 'b') }, 'first');
    for (let moment = 101; moment < 1200; moment++) revocations.record('ada', { ends: endsAt(moment, 'b') }, 'first');
    // By a clock that was set back.
    revocations.record('ada', { ends: endsAt(50, 'b') }, 'first');
    revocations.lost();
    expect(await replay()).toEqual([['ada', { ...ended(), ends: [...endsAt(100, 'a'), ...endsAt(1199, 'b')] }]]);
  });

  it('uses bounded memory: the oldest beyond 10,000 users and 1,000 sessions are dropped', async () => {
    for (let i = 0; i <= 1000; i++) revocations.record('ada', ended(`session-${i}`), 'first');
    revocations.lost();
    expect((await replay())[0]?.[1].ends).toHaveLength(1000);
    for (let i = 0; i <= 10_000; i++) revocations.record(`user-${i}`, ended('a'), 'first');
    revocations.lost();
    const keys = (await replay()).map(([key]) => key);
    expect(keys).toHaveLength(10_000);
    expect(keys).not.toContain('user-0');
  });
});

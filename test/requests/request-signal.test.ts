import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { FRAMEWORKS, type Session, serve } from '../support/apps';
import { ask } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { until } from '../support/until';

const onClose = closeAfterEach();

/** Resolves once the signal aborts. */
const aborted = (signal: AbortSignal) => (signal.aborted ? undefined : once(signal, 'abort'));

async function start(framework: keyof typeof FRAMEWORKS) {
  const seen: AbortSignal[] = [];
  const routes = {
    '/wait': async (session: Session) => {
      seen.push(session.signal);
      await aborted(session.signal);
      return { why: session.signal.reason.endReason, message: session.signal.reason.endMessage };
    },
    '/look': async (session: Session) => {
      const { signal } = session;
      seen.push(signal);
      if (session.user !== null) await until('it is watched', () => manager.watched().length === 1);
      return { same: session.signal === signal, aborted: signal.aborted };
    },
    '/out': async (session: Session) => {
      const { signal } = session;
      seen.push(signal);
      await session.logout();
      await aborted(signal);
      return { why: signal.reason.endReason, later: session.signal.aborted };
    },
    '/switch': async (session: Session) => {
      const before = session.signal;
      await session.login('bob');
      const after = session.signal;
      await aborted(before);
      return { why: before.reason.endReason, differs: after !== before, later: after.aborted };
    },
  };
  const { manager, calls, url } = await serve(onClose, FRAMEWORKS[framework], { routes });
  const token = await manager.setToken('ada');
  calls.length = 0;
  const visit = async (path: string, by: string | null = token) =>
    (await ask(url + path, { headers: by === null ? {} : { Authorization: `Bearer ${by}` } })).body;
  return { url, manager, token, visit, calls, seen };
}

describe.each(Object.keys(FRAMEWORKS) as (keyof typeof FRAMEWORKS)[])('on %s, session.signal', (framework) => {
  it('aborts with the reason while the request runs', async () => {
    const { manager, visit, seen } = await start(framework);
    const answer = visit('/wait');
    await until('it is watched', () => manager.watched().length === 1);
    await manager.deleteUserToken('ada', { message: 'signed out on Firefox at 14:02' });
    expect(await answer).toEqual({ why: 'revoked', message: 'signed out on Firefox at 14:02' });
    expect(seen).toHaveLength(1);
  });

  it('costs nothing unless it is read, and nothing once the response is closed', async () => {
    const { manager, visit, calls, seen } = await start(framework);
    await visit('/me');
    expect(calls).toEqual(['touch']);
    expect(await visit('/look')).toEqual({ same: true, aborted: false });
    await until('it is released', () => manager.watched().length === 0);
    await manager.deleteUserToken('ada');
    expect(seen[0]?.aborted).toBe(false);
  });

  it('is released when the client disconnects', async () => {
    const { url, manager, token } = await start(framework);
    const leaving = request(`${url}/wait`, { headers: { Authorization: `Bearer ${token}` } });
    leaving.on('error', () => undefined);
    leaving.end();
    await until('it is watched', () => manager.watched().length === 1);
    leaving.destroy();
    await until('it is released', () => manager.watched().length === 0);
  });

  // A host with `Request` and `Response` says itself when the client has gone.
  if (framework !== 'fetch')
    it('is released when the client of pipelined requests disconnects', async () => {
      const { url, manager, token, seen } = await start(framework);
      const { port } = new URL(url);
      const socket = connect(Number(port), '127.0.0.1');
      const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: app\r\nAuthorization: Bearer ${token}\r\n\r\n`;
      socket.write(get('/wait').repeat(3));
      await until('all are open', () => seen.length === 3);
      socket.destroy();
      await until('they are released', () => manager.watched().length === 0);
    });

  it('never aborts without a user', async () => {
    const { visit, manager } = await start(framework);
    expect(await visit('/look', null)).toEqual({ same: true, aborted: false });
    expect(await visit('/look', 'nonsense')).toEqual({ same: true, aborted: false });
    expect(manager.watched()).toEqual([]);
  });

  it('follows a logout and a login within the request', async () => {
    const { visit } = await start(framework);
    expect(await visit('/switch')).toEqual({ why: 'replaced', differs: true, later: false });
    const { visit: again } = await start(framework);
    expect(await again('/out')).toEqual({ why: 'unknown', later: false });
  });
});

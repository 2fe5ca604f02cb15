import { setImmediate as nextTurn } from 'node:timers/promises';
import { MemoryStore, SessionError } from 'tokensession';
import { type FetchSession, requireUser, sessionOpener } from 'tokensession/fetch';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import { managerMaker } from '../support/managers';
import { until } from '../support/until';

const URL_OF_APP = 'https://shop.example.com/';
const onClose = closeAfterEach();

const newManager = managerMaker(onClose);

const asking = (token?: string, more: Record<string, string> = {}) =>
  new Request(URL_OF_APP, { headers: { ...(token !== undefined && { cookie: `__Host-session=${token}` }), ...more } });

/** A session that has just signed in. */
async function signedIn(options: Parameters<typeof sessionOpener>[1] = {}): Promise<FetchSession<unknown>> {
  const session = await sessionOpener(newManager(), options)(asking());
  await session.login('ada');
  return session;
}

const names = (response: Response) => response.headers.getSetCookie().map((line) => line.split('=')[0]);

describe('commit', () => {
  it('returns the response itself when there is nothing to add', async () => {
    const session = await sessionOpener(newManager())(asking());
    const response = new Response('hello');
    expect(session.commit(response)).toBe(response);
  });

  it("keeps the response's headers and cookies, and modifies no response that others may send", async () => {
    const response = new Response('hello', { status: 201, statusText: 'Made', headers: { 'X-One': '1' } });
    response.headers.append('Set-Cookie', 'theme=dark; Path=/');
    response.headers.append('Set-Cookie', 'lang=en; Expires=Thu, 01 Jan 2099 00:00:00 GMT');
    response.headers.set('Cache-Control', 'public, max-age=60');
    const sent = (await signedIn()).commit(response);
    expect([sent.status, sent.statusText, sent.headers.get('x-one')]).toEqual([201, 'Made', '1']);
    expect(sent.headers.get('content-type')).toBe('text/plain;charset=UTF-8');
    expect(sent.headers.get('cache-control')).toBe('no-store');
    expect(names(sent)).toEqual(['theme', 'lang', '__Host-session']);
    expect(sent.headers.getSetCookie()[1]).toBe('lang=en; Expires=Thu, 01 Jan 2099 00:00:00 GMT');
    expect(names(response)).toEqual(['theme', 'lang']);
    expect(await sent.text()).toBe('hello');
  });

  it('handles redirects, responses without a body and immutable headers', async () => {
    const fetched = await fetch(`data:text/plain,${'x'.repeat(10)}`);
    for (const response of [
      Response.redirect(URL_OF_APP, 302),
      new Response(null, { status: 204 }),
      new Response(null, { status: 304, headers: { ETag: '"x"' } }),
      fetched,
    ]) {
      const sent = (await signedIn()).commit(response);
      expect([sent.status, sent.headers.get('location')]).toEqual([response.status, response.headers.get('location')]);
      expect(names(sent)).toEqual(['__Host-session']);
    }
  });

  it('returns an error response (Response.error) unmodified', async () => {
    const broken = Response.error();
    expect((await signedIn()).commit(broken)).toBe(broken);
  });

  it('passes a stream on while it is written', async () => {
    let write: (text: string) => void = () => undefined;
    const body = new ReadableStream({
      start(controller) {
        write = (text) => controller.enqueue(new TextEncoder().encode(text));
      },
    });
    const sent = (await signedIn()).commit(new Response(body, { headers: { 'Content-Type': 'text/event-stream' } }));
    expect([names(sent), sent.headers.get('content-type')]).toEqual([['__Host-session'], 'text/event-stream']);
    const reader = (sent.body as ReadableStream<Uint8Array>).getReader();
    for (const text of ['one', 'two']) {
      write(text);
      expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe(text);
    }
  });

  it('releases the signal of a HEAD request at once, since hosts drop its body', async () => {
    const manager = newManager();
    const headers = { cookie: `__Host-session=${await manager.setToken('ada')}` };
    const session = await sessionOpener(manager)(new Request(URL_OF_APP, { method: 'HEAD', headers }));
    const { signal } = session;
    session.commit(new Response(new ReadableStream()));
    expect([manager.unwatch(signal), signal.aborted]).toEqual([false, false]);
  });

  /** A session whose signal was read. */
  const watching = async (init?: RequestInit) => {
    const manager = newManager();
    const headers = { cookie: `__Host-session=${await manager.setToken('ada')}` };
    const session = await sessionOpener(manager)(new Request(URL_OF_APP, { headers, ...init }));
    const { signal } = session;
    return { session, hasWatch: () => manager.unwatch(signal) };
  };

  it('reads a body no faster than the client does, and cancels it when the client leaves', async () => {
    const { session, hasWatch } = await watching();
    const [pull, cancel] = [jest.fn(), jest.fn()];
    const sent = session.commit(new Response(new ReadableStream({ pull, cancel }, { highWaterMark: 0 })));
    await nextTurn();
    expect(pull).not.toHaveBeenCalled();
    await sent.body?.cancel('gone');
    expect(cancel).toHaveBeenCalledWith('gone');
    expect(hasWatch()).toBe(false);
  });

  it('leaves no watch behind a network error, which has no body', async () => {
    const { session, hasWatch } = await watching();
    expect(session.commit(Response.error()).type).toBe('error');
    expect(hasWatch()).toBe(false);
  });

  it('passes on the error of a body, and leaves no watch behind', async () => {
    const { session, hasWatch } = await watching();
    const broken = new Error('the database is down');
    const sent = session.commit(new Response(new ReadableStream({ pull: () => Promise.reject(broken) })));
    await expect(sent.text()).rejects.toBe(broken);
    expect(hasWatch()).toBe(false);
  });

  it('leaves no watch behind when the client had left before the signal was read', async () => {
    const { hasWatch } = await watching({ signal: AbortSignal.abort() });
    expect(hasWatch()).toBe(false);
  });

  it('leaves no watch behind: a signal asked for later throws, unless it was asked for before', async () => {
    const manager = newManager();
    const token = await manager.setToken('ada');
    const hasNoWatch = () => until('it is released', () => manager.watched().length === 0);
    const openSession = sessionOpener(manager);
    const late = await openSession(asking(token));
    const sent = late.commit(new Response('hello'));
    const isLate = { code: 'ERR_HEADERS_SENT', message: expect.stringMatching(/^session\.signal came after/) };
    expect(() => late.signal).toThrow(expect.objectContaining(isLate));
    expect(await sent.text()).toBe('hello');
    const early = await openSession(asking(token));
    const { signal } = early;
    await until('it is watched', () => manager.watched().length === 1);
    const body = early.commit(new Response('hello'));
    expect(early.signal).toBe(signal);
    expect(await body.text()).toBe('hello');
    await hasNoWatch();
    // Without a user there is nothing to watch.
    const stranger = await openSession(asking());
    stranger.commit(new Response());
    expect(stranger.signal.aborted).toBe(false);
  });

  it('works after the signal has aborted because the session had ended', async () => {
    const manager = newManager();
    const token = await manager.setToken('ada');
    const session = await sessionOpener(manager)(asking(token));
    await manager.deleteToken(token);
    expect([await session.rotate(), session.signal.aborted]).toEqual([null, true]);
    expect(session.signal.reason).toMatchObject({ code: 'ERR_SESSION_ENDED', endReason: 'unknown' });
    expect((await sessionOpener(manager)(asking(token))).signal.aborted).toBe(false);
  });

  it("adds Clear-Site-Data, and keeps the response's own", async () => {
    const session = await signedIn({ clearSiteData: true });
    await session.logout();
    const sent = session.commit(new Response(null, { headers: { 'Clear-Site-Data': '"executionContexts"' } }));
    expect(sent.headers.get('clear-site-data')).toBe('"executionContexts", "cache", "cookies", "storage"');
    expect(sent.headers.getSetCookie()).toEqual([expect.stringMatching(/^__Host-session=; Max-Age=0/)]);
  });

  it("keeps the response's own Clear-Site-Data after a logout and a login", async () => {
    const session = await signedIn({ clearSiteData: true });
    await session.logout();
    await session.login('grace');
    const sent = session.commit(new Response(null, { headers: { 'Clear-Site-Data': '"cache"' } }));
    expect(sent.headers.get('clear-site-data')).toBe('"cache"');
  });

  it('is final: a login after it rejects, and leaves no session', async () => {
    const manager = newManager();
    const session = await sessionOpener(manager)(asking());
    session.commit(new Response());
    await expect(session.login('ada')).rejects.toMatchObject({ code: 'ERR_HEADERS_SENT' });
    expect(await manager.listUserToken('ada')).toEqual([]);
  });

  it('of a later error response sets the same cookie', async () => {
    const session = await signedIn();
    session.commit(new Response());
    expect(names(session.commit(new Response('sorry', { status: 500 })))).toEqual(['__Host-session']);
  });

  it.each(['after its signal was read', 'without'])('gives the same response again, %s', async (signal) => {
    const manager = newManager();
    const session = await sessionOpener(manager)(asking(await manager.setToken('ada')));
    await session.login('ada');
    if (signal !== 'without') expect(session.signal.aborted).toBe(false);
    const response = new Response('hello', { headers: { 'Set-Cookie': 'theme=dark' } });
    const sent = session.commit(response);
    expect(session.commit(response)).toBe(sent);
    expect(session.commit(sent)).toBe(sent);
    expect(session.commit(response)).toBe(sent);
    expect([names(sent), await sent.text()]).toEqual([['theme', '__Host-session'], 'hello']);
  });

  it('gives the headers to the answer of an error, too, when the first response was not sent', async () => {
    const manager = newManager();
    const session = await sessionOpener(manager)(asking(await manager.setToken('ada')));
    const token = await session.login('ada');
    expect(session.signal.aborted).toBe(false);
    session.commit(new Response('never sent'));
    const sent = session.commit(new Response('sorry', { status: 500 }));
    expect([names(sent), await sent.text()]).toEqual([['__Host-session'], 'sorry']);
    expect((await manager.checkToken(token))?.user.id).toBe('ada');
  });

  it('cannot be overwritten, in sloppy mode either', async () => {
    const session = await signedIn();
    const write = new Function('session', 'session.commit = null');
    expect(() => write(session)).toThrow("session.commit can't be assigned");
    expect(() => new Function('session', 'session.cart = []')(session)).toThrow("session.cart can't be assigned");
    expect(names(session.commit(new Response()))).toEqual(['__Host-session']);
  });
});

describe('openSession', () => {
  it('opens a request once, however often it is called', async () => {
    const { store, calls } = countedStore(new MemoryStore());
    const manager = newManager({ store });
    const token = await manager.setToken('ada');
    calls.splice(0);
    const open = sessionOpener(manager);
    const request = asking(token);
    const [one, two] = await Promise.all([open(request), open(request)]);
    expect(two).toBe(one);
    expect(await open(request)).toBe(one);
    expect([one.user, calls]).toEqual([{ id: 'ada' }, ['touch']]);
  });

  it('opens a copy of a request, or a wrapped one, for itself: it may have other headers', async () => {
    const manager = newManager();
    const open = sessionOpener(manager);
    const of = async (user: string) => ({
      method: 'GET',
      url: URL_OF_APP,
      headers: new Headers({ authorization: `Bearer ${await manager.setToken(user)}` }),
    });
    const [ada, bob] = [await of('ada'), await of('bob')];
    expect((await open(ada)).user?.id).toBe('ada');
    const copy = await open({ ...ada, headers: bob.headers });
    expect(copy.user?.id).toBe('bob');
    expect((await open(Object.create(ada, { headers: { value: bob.headers } }))).user?.id).toBe('bob');
    await copy.login('eve');
    expect(names(copy.commit(new Response()))).toEqual(['__Host-session']);
    expect(names((await open(ada)).commit(new Response()))).toEqual([]);
    expect(Reflect.ownKeys(ada)).toEqual(['method', 'url', 'headers']);
  });

  it('opens a frozen request once', async () => {
    const open = sessionOpener(newManager());
    const request = Object.freeze(asking());
    expect(await open(request)).toBe(await open(request));
  });

  it('fails the same way each time for one request', async () => {
    const manager = newManager();
    const open = sessionOpener(manager);
    const request = new Request(URL_OF_APP, {
      method: 'POST',
      headers: { cookie: `__Host-session=${await manager.setToken('ada')}`, origin: 'https://evil.example' },
    });
    const outcomes = await Promise.allSettled([open(request), open(request)]);
    const [first, second] = outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason);
    expect(first).toBeInstanceOf(SessionError);
    expect(second).toBe(first);
    const response = (first as SessionError).getResponse();
    expect([response.status, await response.json()]).toEqual([403, { error: 'ERR_CROSS_ORIGIN' }]);
  });

  it('prefers the connection passed to it over what the request says', async () => {
    const manager = newManager();
    const open = sessionOpener(manager);
    const request = () =>
      new Request('http://internal:3000/', { method: 'POST', headers: { origin: 'https://shop.example.com' } });
    const plain = await open(request(), { host: 'shop.example.com' });
    await plain.login('ada');
    expect(names(plain.commit(new Response()))).toEqual(['session']);
    const proxied = await open(request(), { ip: '192.0.2.7', secure: true, host: 'shop.example.com' });
    await proxied.login('grace');
    expect(names(proxied.commit(new Response()))).toEqual(['__Host-session']);
    expect((await manager.listUserSessions('grace'))[0]?.attributes).toMatchObject({ ip: '192.0.2.7' });
    await expect((await open(request())).login('eve')).rejects.toMatchObject({ code: 'ERR_CROSS_ORIGIN' });
    await expect((await open(request(), { ip: null, host: null })).login('eve')).rejects.toThrow(SessionError);
  });

  it.each([
    [undefined, undefined, 'openSession() needs a Request'],
    [{ headers: {} }, undefined, 'openSession() needs a Request'],
    [asking(), { secure: 'true' }, 'secure must be true or false, got a value of type string'],
    [asking(), { ip: ['::1'] }, 'ip must be a string, got an array'],
    [asking(), { proto: 'https' }, 'connection: unknown option "proto"; known are ip, secure, host'],
  ])('rejects invalid arguments: %#', async (request, connection, message) => {
    const opening = sessionOpener(newManager())(request as Request, connection as never);
    await expect(opening).rejects.toThrow(new TypeError(message));
  });

  it('has no option `property`', () => {
    const options = { property: 'auth' } as never;
    expect(() => sessionOpener(newManager(), options)).toThrow(/^sessionOpener has no option "property"/);
  });

  it('makes no login on a request whose client has disconnected', async () => {
    const manager = newManager();
    const leaving = new AbortController();
    const session = await sessionOpener(manager)(new Request(URL_OF_APP, { signal: leaving.signal }));
    leaving.abort();
    await expect(session.login('ada')).rejects.toMatchObject({ code: 'ERR_HEADERS_SENT' });
    expect(await manager.listUserToken('ada')).toEqual([]);
  });
});

describe('a guard', () => {
  it('gives the user, or an error with the response', async () => {
    const manager = newManager();
    const open = sessionOpener(manager);
    const token = await manager.setToken('ada');
    expect(requireUser(await open(asking(token)))).toEqual({ id: 'ada' });
    await manager.banUser('ada', { reason: 'spam' });
    const session = await open(asking(token, { accept: 'text/html' }));
    const refusal = (options?: object) => {
      try {
        requireUser(session, options);
      } catch (error) {
        return (error as SessionError).getResponse();
      }
      throw new Error('the guard passed');
    };
    const refused = refusal();
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    expect(await refused.json()).toEqual({ error: 'unauthenticated', reason: 'banned', message: 'spam' });
    const redirected = refusal({ redirectTo: '/login' });
    expect([redirected.status, redirected.headers.get('location')]).toEqual([303, '/login?returnTo=%2F']);
  });

  it('accepts only a session', () => {
    for (const given of [undefined, null, {}, { user: { id: 'ada' } }]) {
      expect(() => requireUser(given as never)).toThrow(/^requireUser\(\) needs the session of openSession\(\), got /);
    }
  });
});

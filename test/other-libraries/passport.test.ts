import express, { type Express, type RequestHandler } from 'express';
import { MemoryStore, TokenManager } from 'tokensession';
import { requireUser, type SessionMiddlewareOptions, sessionMiddleware } from 'tokensession/express';
import { type AuthenticateOptions, authenticate, type OAuthStateStore, oauthStateStore } from 'tokensession/passport';
import { listen } from '../support/apps';
import { Browser } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { collectErrors } from '../support/collected-errors';
import { called, startBridge } from '../support/express-session-app';
import { CLIENT, startOAuthServer } from '../support/oauth-server';
import { SECRET } from '../support/stores';
import { until } from '../support/until';

const { Passport } = require('passport');
const { Strategy: LocalStrategy } = require('passport-local');
const OAuth2Strategy = require('passport-oauth2');
const flash = require('connect-flash');
const { csrfSync } = require('csrf-sync');

const onClose = closeAfterEach();

/** Serves an application to a browser, and collects its errors. */
async function serve(app: Express, manager: TokenManager) {
  const errors = collectErrors(app);
  const { url, close } = await listen(app);
  onClose(async () => {
    await close();
    await manager.close();
  });
  return { errors, browser: new Browser(url), url };
}

type Done = (error: unknown, user?: unknown, info?: unknown) => void;

/** A passport with two users: `ada` with the password `right`, and `grace`, whose login throws. */
function localPassport() {
  const passport = new Passport();
  const verify = async (name: string, password: string, done: Done) => {
    await new Promise(setImmediate);
    if (name === 'grace') return done(new Error('the database is down'));
    if (password !== 'right') return done(null, false, { message: 'Wrong password.' });
    done(null, { id: name === 'seven' ? 7 : name, name }, { message: `Welcome, ${name}.` });
  };
  passport.use(new LocalStrategy(verify));
  return passport;
}

async function start(
  mount: (app: Express, manager: TokenManager) => void,
  options?: SessionMiddlewareOptions,
  limits: { maxDataBytes?: number } = {},
) {
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET, ...limits });
  const app = express();
  app.set('env', 'test');
  app.use(express.urlencoded());
  app.use(sessionMiddleware(manager, options));
  mount(app, manager);
  app.get('/data', async (req, res) => {
    res.json(await req.session.data.getAll());
  });
  app.get('/set', async (req, res) => {
    await req.session.data.set(req.query as Record<string, unknown>);
    res.json(null);
  });
  app.get('/me', requireUser(), (req, res) => {
    res.json(req.session.user);
  });
  const { errors, browser, url } = await serve(app, manager);
  const post = (path: string, fields: Record<string, string>) =>
    browser.visit(path, { method: 'POST', body: new URLSearchParams(fields) });
  return { manager, browser, post, errors, url };
}

const RIGHT = { username: 'ada', password: 'right' };
const WRONG = { username: 'ada', password: 'wrong' };

describe('passport-local', () => {
  it('signs in as in the recipe: session: false, then session.login', async () => {
    const passport = localPassport();
    const { browser, post, manager } = await start((app) => {
      app.post('/login', passport.authenticate('local', { session: false }), (async (req, res) => {
        await req.session.login((req as unknown as { user: { id: string } }).user.id, { keep: ['cart'] });
        res.json(req.session.user);
      }) satisfies RequestHandler);
    });
    await browser.visit('/set?cart=book&other=1');
    expect((await post('/login', WRONG)).status).toBe(401);
    expect((await browser.visit('/me')).status).toBe(401);
    expect((await post('/login', RIGHT)).body).toEqual({ id: 'ada' });
    expect((await browser.visit('/me')).body).toEqual({ id: 'ada' });
    expect((await browser.visit('/data')).body).toEqual({ cart: 'book' });
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
  });

  const withOptions = (options: AuthenticateOptions) => {
    const passport = localPassport();
    return start((app) => {
      app.post('/login', authenticate(passport, 'local', options), ((req, res) => {
        const { user, authInfo, session } = req as unknown as Record<string, unknown> & { session: { user: unknown } };
        res.json({ user, authInfo, session: session.user });
      }) satisfies RequestHandler);
    });
  };

  it('signs in with authenticate(), and the next handler has the user', async () => {
    const { post } = await withOptions({});
    expect((await post('/login', { ...RIGHT, username: 'seven' })).body).toEqual({
      user: { id: 7, name: 'seven' },
      authInfo: { message: 'Welcome, seven.' },
      session: { id: '7' },
    });
    const refused = await post('/login', WRONG);
    expect([refused.status, refused.body]).toEqual([401, { error: 'unauthenticated' }]);
    const broken = await post('/login', { ...RIGHT, username: 'grace' });
    expect([broken.status, broken.body]).toEqual([500, { error: 'the database is down' }]);
  });

  it("leaves the strategy's info alone with authInfo: false, as passport does", async () => {
    const { post } = await withOptions({ authInfo: false });
    expect((await post('/login', RIGHT)).body).toEqual({ user: { id: 'ada', name: 'ada' }, session: { id: 'ada' } });
  });

  it('stores failureMessage and failureFlash where the next page finds them', async () => {
    const { post, browser } = await withOptions({
      failureRedirect: '/login',
      failureMessage: true,
      failureFlash: { type: 'warning' },
    });
    for (let i = 0; i < 2; i++) {
      const { status, headers } = await post('/login', WRONG);
      expect([status, headers.get('location')]).toEqual([302, '/login']);
    }
    expect((await browser.visit('/data')).body).toEqual({
      messages: ['Wrong password.', 'Wrong password.'],
      flash: { warning: ['Wrong password.', 'Wrong password.'] },
    });
  });

  it.each([
    [true, { tip: ['Wrong password.'] }],
    ['Try again.', { error: ['Try again.'] }],
    [{ message: 'Try again.' }, { error: ['Try again.'] }],
    [{ type: 'warning' }, { warning: ['Wrong password.'] }],
    [false, undefined],
  ])('with failureFlash %j stores the type that passport gives the message', async (failureFlash, stored) => {
    const passport = new Passport();
    const info = { type: 'tip', message: 'Wrong password.' };
    passport.use(new LocalStrategy((_name: string, _password: string, done: Done) => done(null, false, info)));
    const shown: unknown[] = [];
    const { post, browser } = await start((app) => {
      app.post('/login', authenticate(passport, 'local', { failureRedirect: '/', failureFlash }));
      const own = passport.authenticate('local', { session: false, failureRedirect: '/', failureFlash });
      app.post('/own', (req, res, next) => {
        Object.assign(req, { flash: (type: string, text: string) => shown.push([type, text]) });
        own(req, res, next);
      });
    });
    await post('/login', WRONG);
    expect((await browser.visit('/data')).body).toEqual(stored === undefined ? {} : { flash: stored });
    await post('/own', WRONG);
    expect(shown).toEqual(Object.entries(stored ?? {}).map(([type, texts]) => [type, texts[0]]));
  });

  it('stores successMessage in the new session, and takes over the data that the login names', async () => {
    const { post, browser } = await withOptions({
      successRedirect: '/',
      successMessage: 'Hello.',
      successFlash: true,
      login: { keep: ['cart'], persistent: false },
    });
    await browser.visit('/set?cart=book&other=1');
    const { status, headers, setCookie } = await post('/login', RIGHT);
    expect([status, headers.get('location')]).toEqual([302, '/']);
    expect(setCookie[0]).not.toMatch(/Max-Age|Expires/);
    expect((await browser.visit('/data')).body).toEqual({
      cart: 'book',
      messages: ['Hello.'],
      flash: { success: ['Welcome, ada.'] },
    });
  });

  it.each([
    ['/orders?page=2', '/orders?page=2'],
    ['/', '/'],
    ['//evil.example/', '/home'],
    ['https://evil.example/', '/home'],
    ['', '/home'],
  ])('with %j in returnTo, successReturnToOrRedirect redirects to %j', async (returnTo, location) => {
    const { post, browser } = await withOptions({ successReturnToOrRedirect: '/home' });
    if (returnTo !== '') await browser.visit(`/set?returnTo=${encodeURIComponent(returnTo)}`);
    expect((await post('/login', RIGHT)).headers.get('location')).toBe(location);
    expect((await browser.visit('/data')).body).toEqual({});
  });

  it('deletes returnTo also where the login keeps it', async () => {
    const { post, browser } = await withOptions({ successReturnToOrRedirect: '/home', login: { keep: ['returnTo'] } });
    await browser.visit('/set?returnTo=/orders');
    expect((await post('/login', RIGHT)).headers.get('location')).toBe('/orders');
    expect((await browser.visit('/data')).body).toEqual({});
  });

  it('passes on that the info can not be transformed', async () => {
    const passport = localPassport();
    passport.transformAuthInfo((_info: unknown, done: (error: unknown) => void) => done(new Error('no scopes')));
    const { post, errors } = await start((app) => {
      app.post('/login', authenticate(passport, 'local'));
    });
    expect((await post('/login', RIGHT)).status).toBe(500);
    expect(errors).toEqual([new Error('no scopes')]);
  });

  it('passes on that a message could not be stored after the login', async () => {
    const passport = localPassport();
    const options = { successRedirect: '/', successMessage: 'x'.repeat(100) };
    const mount = (app: Express) => app.post('/login', authenticate(passport, 'local', options));
    const { post, errors, manager } = await start(mount, undefined, { maxDataBytes: 50 });
    expect((await post('/login', RIGHT)).status).toBe(413);
    expect(errors).toEqual([expect.objectContaining({ code: 'ERR_DATA_TOO_LARGE' })]);
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
  });

  it('passes on that the user may not sign in, and leaves returnTo to the visitor', async () => {
    const passport = localPassport();
    const { post, manager, browser } = await start((app) => {
      app.post('/login', authenticate(passport, 'local', { successReturnToOrRedirect: '/home' }));
    });
    await browser.visit('/set?returnTo=/orders');
    await manager.banUser('ada');
    expect((await post('/login', RIGHT)).status).toBe(403);
    await manager.unbanUser('ada');
    expect((await post('/login', RIGHT)).headers.get('location')).toBe('/orders');
    expect((await browser.visit('/data')).body).toEqual({});
  });

  it('names an invalid option', () => {
    const passport = localPassport();
    const make = (options: AuthenticateOptions) => () => authenticate(passport, 'local', options);
    expect(make({ keepSessionInfo: true })).toThrow(
      new TypeError('authenticate has no option keepSessionInfo: name what to keep in login: { keep: […] }'),
    );
    expect(make({ session: true })).toThrow('it always signs in with session.login()');
    expect(make({ assignProperty: 'account' })).toThrow('use passport.authorize()');
    expect(make({ failureRedirect: 'https://evil.example' })).toThrow(
      'option failureRedirect must be a path of this site',
    );
    expect(make({ login: { kep: [] } as never })).toThrow('option login: unknown option "kep"; known are ');
    expect(make({ login: { keep: 'cart' } as never })).toThrow('option login.keep must be an array of keys');
    expect(make({ userIdOf: 'id' as never })).toThrow('option userIdOf must be a function');
    for (const name of ['successMessage', 'failureMessage', 'successFlash', 'failureFlash']) {
      for (const value of [7, null, [], { text: 'Hello.' }, { message: true }]) {
        expect(make({ [name]: value })).toThrow(new RegExp(`^option ${name}\\b`));
      }
    }
    expect(() => authenticate(undefined as never, 'local')).toThrow('authenticate needs a passport, got undefined');
    for (const options of [null, 'local', []]) {
      expect(make(options as never)).toThrow(/^authenticate's options must be an object, got /);
    }
  });

  it('refuses a callback of passport.authenticate(), which would not be called', () => {
    const passport = localPassport();
    const make = authenticate as (...args: unknown[]) => unknown;
    const callback = (_error: unknown, user: unknown) => user;
    const hint = new TypeError(
      'authenticate takes no callback: call passport.authenticate(strategy, { session: false }, callback), ' +
        'and session.login() in the callback',
    );
    expect(() => make(passport, 'local', callback)).toThrow(hint);
    expect(() => make(passport, 'local', {}, callback)).toThrow(hint);
    expect(make(passport, 'local', undefined, undefined)).toEqual(expect.any(Function));
  });

  it('with failWithError passes on an error like that of passport, with the challenge in the answer', async () => {
    const passport = localPassport();
    passport.use('basic', {
      authenticate(this: { fail(challenge: string): void }) {
        this.fail('Basic realm="Users"');
      },
    });
    passport.use('limited', {
      authenticate(this: { fail(status: number): void }) {
        this.fail(429);
      },
    });
    const outcome = async (middleware: (strategy: string) => unknown, strategy: string, fields = WRONG) => {
      const { post, errors } = await start((app) => {
        app.post('/login', middleware(strategy) as RequestHandler);
      });
      const { status, headers, body } = await post('/login', fields);
      const { name, message, status: given } = errors[0] as Error & { status: number };
      return [status, headers.get('www-authenticate'), body, name, message, given];
    };
    const own = (name: string) => authenticate(passport, name, { failWithError: true });
    const theirs = (name: string) => passport.authenticate(name, { session: false, failWithError: true });
    // passport-local refuses an incomplete form with 400.
    const incomplete = { username: 'ada', password: '' };
    expect(await outcome(own, 'local', incomplete)).toEqual(await outcome(theirs, 'local', incomplete));
    expect(await outcome(own, 'limited')).toEqual(await outcome(theirs, 'limited'));
    for (const strategy of ['local', 'basic']) {
      const ours = await outcome(own, strategy);
      expect(ours).toEqual(await outcome(theirs, strategy));
      expect(ours.slice(3)).toEqual(['AuthenticationError', 'Unauthorized', 401]);
    }
  });

  it('with its own session fails with an error that names the recipe', async () => {
    const passport = localPassport();
    passport.serializeUser((user: { id: string }, done: (error: null, id: string) => void) => done(null, user.id));
    const { post, browser, errors } = await start((app) => {
      app.post('/login', passport.authenticate('local', { successRedirect: '/' }));
      app.post('/logout', passport.initialize(), ((req, _res, next) => {
        (req as unknown as { logout(done: (error: unknown) => void): void }).logout(next);
      }) satisfies RequestHandler);
      app.get('/flash', flash(), ((req, res) => {
        res.json((req as unknown as { flash(type: string, text: string): unknown }).flash('info', 'text'));
      }) satisfies RequestHandler);
    });
    expect((await post('/login', RIGHT)).status).toBe(500);
    expect(errors.at(-1)).toEqual(
      new TypeError(
        "session.regenerate is express-session's: sign in with passport.authenticate(…, { session: false }) and then session.login(user.id), or with authenticate() of tokensession/passport; sign out with session.logout()",
      ),
    );
    expect((await post('/logout', {})).status).toBe(500);
    expect((errors.at(-1) as Error).message).toMatch(/^session\.save is express-session's: .* session\.logout\(\)$/);
    expect((await browser.visit('/flash')).status).toBe(500);
    expect(errors.at(-1)).toEqual(new TypeError(RECIPE('flash')));
  });
});

const RECIPE = (name: string) =>
  `session.${name} is express-session's: the options failureMessage, successMessage, failureFlash, successFlash and successReturnToOrRedirect need authenticate() of tokensession/passport instead of passport.authenticate(); other code keeps data with session.data.set(${JSON.stringify(name)}, …)`;

describe.each([
  ['Express 5', express],
  ['Express 4', require('express4') as typeof express],
])("passport's own options on our session, in %s,", (_, framework) => {
  /** An application whose routes are on a router, as in a large one. */
  const open = async (options: object, next?: RequestHandler) => {
    const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    const passport = localPassport();
    passport.serializeUser((user: { id: string }, done: (error: null, id: string) => void) => done(null, user.id));
    const app = framework();
    app.set('env', 'test');
    app.use(framework.urlencoded({ extended: false }), sessionMiddleware(manager), flash());
    const router = framework.Router();
    router.post('/login', passport.authenticate('local', options), next ?? ((_req, res) => res.json('signed in')));
    router.get('/read', (req, res) => {
      res.json({ flash: (req as unknown as { flash(): unknown }).flash() });
    });
    app.use('/account', router);
    const { errors, browser } = await serve(app, manager);
    const post = (fields: Record<string, string>) =>
      browser.visit('/account/login', { method: 'POST', body: new URLSearchParams(fields) });
    return { post, browser, errors };
  };

  it.each([
    ['failureMessage', 'messages', WRONG, { failureMessage: true, failureRedirect: '/login' }],
    ['failureMessage without a redirect', 'messages', WRONG, { failureMessage: 'No.' }],
    ['failureFlash', 'flash', WRONG, { failureFlash: true, failureRedirect: '/login' }],
    ['successMessage', 'messages', RIGHT, { successMessage: true, successRedirect: '/' }],
    ['successMessage and the next handler', 'messages', RIGHT, { successMessage: true }],
    ['successFlash', 'flash', RIGHT, { successFlash: 'Hello.', successRedirect: '/' }],
    ['successReturnToOrRedirect', 'returnTo', RIGHT, { successReturnToOrRedirect: '/' }],
  ])(
    '%s: the error handler gets an error with the recipe, and the process goes on',
    async (_, name, fields, options) => {
      const { post, browser, errors } = await open({ session: false, ...options });
      for (let i = 0; i < 2; i++) {
        const { status, headers, body } = await post(fields);
        expect([status, headers.get('location'), body]).toEqual([500, null, { error: RECIPE(name) }]);
      }
      expect(errors.filter((error) => (error as Error).message === RECIPE(name))).toHaveLength(2);
      expect((await browser.visit('/other')).status).toBe(404);
    },
  );

  it('failureMessage with failWithError: the error comes after that of passport', async () => {
    const { post, errors } = await open({ session: false, failureMessage: 'No.', failWithError: true });
    const { status, text } = await post(WRONG);
    expect([status, text]).toEqual([500, expect.stringContaining('express-session&#39;s')]);
    expect(errors).toEqual([expect.objectContaining({ name: 'AuthenticationError' })]);
  });

  it('successMessage with a session of its own: the error handler gets a TypeError', async () => {
    const { post, errors } = await open({ successMessage: true, successRedirect: '/' });
    expect((await post(RIGHT)).status).toBe(500);
    expect(errors).toEqual([expect.any(TypeError)]);
  });

  it('a handler that answers in parts: the error handler gets the same error, once', async () => {
    const { post, errors } = await open({ session: false, successMessage: true }, (_req, res) => {
      res.write('some');
      setImmediate(() => res.end('thing'));
    });
    expect((await post(RIGHT)).body).toEqual({ error: RECIPE('messages') });
    expect(errors).toHaveLength(1);
  });

  it('a login after the refusal: the answer of the error handler sets its cookie', async () => {
    const { post } = await open({ session: false, successMessage: true }, (req, res, next) => {
      req.session.login('ada').then((token) => res.json(token), next);
    });
    const { status, headers, body } = await post(RIGHT);
    expect([status, body]).toEqual([500, { error: RECIPE('messages') }]);
    expect(headers.getSetCookie()).toEqual([expect.stringMatching(/^session=[\w.-]{50,}; Max-Age/)]);
    expect(headers.get('cache-control')).toBe('no-store');
  });

  it('an answer that was sent before: the error handler still gets it', async () => {
    const { post, errors } = await open({ session: false }, (req, res) => {
      res.end('early');
      (req.session as unknown as Record<string, unknown>).messages = [];
    });
    expect((await post(RIGHT)).text).toBe('early');
    await until('the error handler has it', () => errors.length > 0);
    expect(errors).toEqual([new TypeError(RECIPE('messages'))]);
  });

  it('connect-flash: reading is refused as well', async () => {
    const { browser } = await open({});
    expect((await browser.visit('/account/read')).body).toEqual({ error: RECIPE('flash') });
  });
});

type StateFunctions = Record<'store' | 'verify', (...args: unknown[]) => void>;

/** The same store for a strategy that passes fewer arguments: passport-oauth2 counts the parameters. */
const THREE = ({ store, verify }: StateFunctions) => ({
  store: (request: object, meta: object, stored: object) => store(request, meta, stored),
  verify: (request: object, handle: string, loaded: object) => verify(request, handle, loaded),
});
const TWO = ({ store, verify }: StateFunctions) => ({
  store: (request: object, stored: object) => store(request, stored),
  verify,
});

describe.each([
  ['PKCE and five arguments', { pkce: true }, (store: StateFunctions) => store],
  ['five arguments without PKCE', {}, (store: StateFunctions) => store],
  ['three arguments', {}, THREE],
  ['two arguments', {}, TWO],
] as const)('passport-oauth2 with %s', (_, strategyOptions, calling) => {
  const startOAuth = async (ttl?: number) => {
    const store: OAuthStateStore = calling(oauthStateStore({ ttl }) as unknown as StateFunctions);
    const provider = await startOAuthServer();
    onClose(() => provider.close());
    const passport = new Passport();
    const app = await start(
      (app) => {
        app.get('/login', authenticate(passport, 'oauth2', { successRedirect: '/me', failureMessage: true }));
        app.get('/callback', authenticate(passport, 'oauth2', { successRedirect: '/me', failureMessage: true }));
      },
      { property: 'session' },
    );
    const strategy = new OAuth2Strategy(
      {
        authorizationURL: `${provider.origin}/authorize`,
        tokenURL: `${provider.origin}/token`,
        clientID: CLIENT.id,
        clientSecret: CLIENT.secret,
        callbackURL: `${app.url}/callback`,
        ...strategyOptions,
        state: true,
        store,
      },
      (
        _access: string,
        _refresh: string,
        _profile: unknown,
        done: (error: null, user: unknown, info: unknown) => void,
      ) => done(null, { id: 'ada' }, {}),
    );
    passport.use(strategy);
    /** Goes to the provider and returns the callback address. */
    const leave = async (browser: Browser) => {
      const { status, headers } = await browser.visit('/login');
      expect(status).toBe(302);
      const there = await fetch(headers.get('location') as string, { redirect: 'manual' });
      return there.headers.get('location') as string;
    };
    return { ...app, leave };
  };

  it('signs in, once for each flow', async () => {
    const { browser, leave, manager } = await startOAuth();
    const back = await leave(browser);
    const { status, headers } = await browser.visit(back);
    expect([status, headers.get('location')]).toEqual([302, '/me']);
    expect((await browser.visit('/me')).body).toEqual({ id: 'ada' });
    expect((await browser.visit('/data')).body).toEqual({});
    expect((await browser.visit(back)).status).toBe(403);
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
  });

  it('stores at most ten flows, one for each tab', async () => {
    const { browser, leave } = await startOAuth();
    await browser.visit('/set?cart=book');
    const backs: string[] = [];
    for (let i = 0; i < 12; i++) backs.push(await leave(browser));
    const { body } = await browser.visit('/data');
    expect(body.oauth).toHaveLength(10);
    expect((await browser.tab().visit(backs[0] as string)).status).toBe(403);
    expect((await browser.visit(backs[5] as string)).status).toBe(302);
    expect((await browser.visit('/me')).body).toEqual({ id: 'ada' });
  });

  it('rejects a flow of another browser, an expired one, and an invalid state', async () => {
    const { browser, leave, url } = await startOAuth();
    const planted = await leave(new Browser(url));
    expect((await browser.visit(planted)).status).toBe(403);
    await leave(browser);
    expect((await browser.visit(planted)).status).toBe(403);
    const own = new URL(await leave(browser));
    for (const state of ['', 'x', '__proto__']) {
      own.searchParams.set('state', state);
      expect((await browser.visit(own.href)).status).toBe(403);
    }
    expect((await browser.visit('/callback?code=1&state=a&state=b')).status).toBe(403);
    expect((await browser.visit('/callback?code=1')).status).toBe(403);
    expect((await browser.visit('/me')).status).toBe(401);

    const short = await startOAuth(1);
    const late = await short.leave(short.browser);
    const now = Date.now();
    const clock = jest.spyOn(Date, 'now').mockImplementation(() => now + 1100);
    try {
      expect((await short.browser.visit(late)).status).toBe(403);
    } finally {
      clock.mockRestore();
    }
  });
});

it("a state store returns the application's own state, and takes all that passport-oauth2 can pass", async () => {
  const store = oauthStateStore() as unknown as StateFunctions;
  expect([store.store.length, store.verify.length]).toEqual([5, 4]);
  const { browser } = await start((app) => {
    app.get('/flow', ((req, res, next) => {
      store.store(req, 'a verifier', { returnTo: '/orders' }, {}, (error: unknown, handle: unknown) => {
        if (error) return next(error);
        store.verify(req, handle, {}, (_error: unknown, verifier: unknown, state: unknown) =>
          res.json({ verifier, state }),
        );
      });
    }) satisfies RequestHandler);
  });
  expect((await browser.visit('/flow')).body).toEqual({ verifier: 'a verifier', state: { returnTo: '/orders' } });
});

it('a state store reports a missing session', async () => {
  const store = oauthStateStore() as unknown as { store(...args: unknown[]): void };
  const error = await new Promise((resolve) => store.store({}, undefined, undefined, {}, resolve));
  expect(error).toEqual(new TypeError('tokensession/passport needs sessionMiddleware() before it'));
});

it('passport, connect-flash and csrf-sync work on express-session with ExpressSessionStore', async () => {
  const passport = localPassport();
  passport.serializeUser((user: { id: string }, done: (error: null, id: string) => void) => done(null, user.id));
  passport.deserializeUser((id: string, done: (error: null, user: object) => void) => done(null, { id }));
  const { csrfSynchronisedProtection, generateToken } = csrfSync();
  const local = (options: object) => passport.authenticate('local', options) as RequestHandler;
  const { browse, manager, events } = await startBridge(onClose, {
    between: [express.urlencoded(), flash(), passport.session()],
    routes: {
      '/who': (req) => ({ user: (req as unknown as { user?: unknown }).user ?? null, data: req.session }),
      '/remember': (req) => {
        req.session.returnTo = '/orders';
        req.session.cart = 'book';
        return { csrf: generateToken(req as never) };
      },
      '/flash': (req) => (req as unknown as { flash(type: string): string[] }).flash('error'),
      '/messages': (req) => {
        const { messages = [] } = req.session;
        delete req.session.messages;
        return messages;
      },
      '/leave': (req) =>
        called((done) => (req as unknown as { logout(done: (error: unknown) => void): void }).logout(done)),
    },
    mount: (app) => {
      app.post('/guarded', csrfSynchronisedProtection, (_req, res) => res.json('passed'));
      app.post('/message', local({ failureRedirect: '/messages', failureMessage: true, successRedirect: '/who' }));
      app.post('/flash-in', local({ failureRedirect: '/flash', failureFlash: true, successRedirect: '/who' }));
      app.post('/return', local({ successReturnToOrRedirect: '/', keepSessionInfo: true }));
    },
  });
  const browser = browse();
  const post = (path: string, fields: Record<string, string>, headers: Record<string, string> = {}) =>
    browser.visit(path, { method: 'POST', body: new URLSearchParams(fields), headers });
  await post('/message', WRONG);
  await post('/flash-in', WRONG);
  expect((await browser.visit('/messages')).body).toEqual(['Wrong password.']);
  expect((await browser.visit('/messages')).body).toEqual([]);
  expect((await browser.visit('/flash')).body).toEqual(['Wrong password.']);
  expect((await browser.visit('/flash')).body).toEqual([]);
  const { csrf } = (await browser.visit('/remember')).body;
  expect((await post('/guarded', {})).status).toBe(403);
  expect((await post('/guarded', {}, { 'x-csrf-token': csrf })).body).toBe('passed');
  expect((await post('/return', RIGHT)).headers.get('location')).toBe('/orders');
  expect((await browser.visit('/who')).body).toEqual({
    user: { id: 'ada' },
    data: expect.objectContaining({ cart: 'book', passport: { user: 'ada' } }),
  });
  expect(await manager.listUserSessions('ada')).toHaveLength(1);
  const stolen = browser.tab();
  await browser.visit('/leave');
  expect((await stolen.visit('/who')).body.user).toBeNull();
  expect(await manager.listUserSessions('ada')).toEqual([]);
  expect(events.map(([name]) => name)).toEqual(['login', 'logout']);
});

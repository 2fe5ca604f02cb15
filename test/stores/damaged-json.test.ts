import { inspect } from 'node:util';
import { MemoryStore } from 'tokensession';
import { ExpressSessionStore } from 'tokensession/express-session';
import { contentOf } from '../../src/express-session/session-content';
import { parseRecord } from '../../src/redis/replies';
import { closeAfterEach } from '../support/closing';
import { managerMaker } from '../support/managers';

/* V8 quotes the start of a text in the error of JSON.parse, which an application would log as a cause. */

const onClose = closeAfterEach();
const DAMAGED = 'pkce-verifier-of-ada';
const corrupt = { code: 'ERR_STORE_CORRUPT', message: expect.stringMatching(/ no JSON$/) };

const newManager = managerMaker(onClose);

async function failureOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

/** What a log shows of an error. */
const logged = (error: unknown) => inspect(error, { depth: null, showHidden: true });

it('is in no log as a value of session data', async () => {
  const store = new MemoryStore();
  const damaged = async () => ({ userId: 'ada', data: new Map([['state', DAMAGED]]) });
  const data = newManager({ store: Object.assign(store, { readData: damaged }) }).sessionData(
    await newManager({ store }).setToken('ada'),
  );
  for (const call of [() => data.get('state'), () => data.getAll(), () => data.update('state', () => 1)]) {
    const error = await failureOf(call);
    expect(error).toMatchObject(corrupt);
    expect(logged(error)).not.toContain('pkce');
  }
});

it('is in no log as the attributes of a session', async () => {
  const error = await failureOf(() => parseRecord('a sid', '1:2:3:0', DAMAGED));
  expect(error).toMatchObject(corrupt);
  expect(logged(error)).not.toContain('pkce');
});

it('is in no log as a value of a session of express-session', async () => {
  const error = await failureOf(() => contentOf(new Map([['state', DAMAGED]]), 1000));
  expect(error).toMatchObject(corrupt);
  expect(logged(error)).not.toContain('pkce');
});

it('is in no log as a session of the store that express-session is moved from', async () => {
  const former = {
    get: (_id: string, done: (error: unknown) => void) => {
      try {
        JSON.parse(DAMAGED);
      } catch (error) {
        done(error);
      }
    },
    destroy: (_id: string, done: () => void) => done(),
  };
  const store = new ExpressSessionStore(newManager(), {
    userIdOf: () => null,
    legacy: { store: former as never, authenticatedAt: () => null },
  });
  const error = await failureOf(
    () => new Promise((resolve, reject) => store.get('an id', (failure) => (failure ? reject(failure) : resolve(0)))),
  );
  expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', cause: { message: 'a session of it is no JSON' } });
  expect(logged(error)).not.toContain('pkce');
});

/*
 * One contestant of the core part: `core-contestant.ts <name> <Redis URL>`. A question with milliseconds and a number
 * of calls in flight makes it call for that long; `warm` calls once for each session. It answers with the number of
 * calls.
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Redis } from 'ioredis';
import RedisSessions from 'redis-sessions';
import { answerQuestions } from './child';
import { contestantNamed, type ManagerOptions, managerOn, SECRET, signIn, userIds } from './contestants';
import { plainReads } from './plain-reads';

const SESSIONS = 1000;
const USER_IDS = userIds(SESSIONS);
/** Contestants that answer from memory would leave timers and connections waiting, unlike a server. */
const CALLS_A_TURN = 512;

/** Starts sessions, and returns a function that finds the user of one. */
type Contestant = (url: string) => Promise<(index: number) => Promise<string | undefined>>;

const CONTESTANTS: Record<string, Contestant> = {
  /** One command of plain ioredis. Calls that share a command can cost less. */
  GET: async (url) => {
    const redis = new Redis(url);
    // About as long as the values of the others.
    await Promise.all(USER_IDS.map((id, index) => redis.set(`plain:${index}`, id.padEnd(100))));
    return async (index) => (await redis.get(`plain:${index}`))?.trimEnd();
  },

  'HMGET + GET': async (url) => plainReads(url, await signIn(managerOn(url), USER_IDS), 'HMGET + GET'),

  'EVALSHA, signed': (url) => signedScript(url),

  checkToken: (url) => checkToken(url),
  'checkToken, cached': (url) => checkToken(url, { cache: true }),
  'checkToken, createHmac': (url) => {
    signWithCreateHmac();
    return checkToken(url);
  },

  /** With the user info that a service needs on each request, cached in Redis. */
  touchToken: (url) => touchToken(url),
  'touchToken, cached': (url) => touchToken(url, { cache: true }),

  'redis-sessions get': (url) => redisSessions(url),
  'redis-sessions get, cached': (url) => redisSessions(url, { cachetime: 5 }),
};

async function checkToken(url: string, options: ManagerOptions = {}): ReturnType<Contestant> {
  const sessions = managerOn(url, options);
  const tokens = await signIn(sessions, USER_IDS);
  return async (index) => (await sessions.checkToken(tokens[index] as string))?.user.id;
}

interface Hmac {
  digest(text: string): string;
}

/** The least that a check by a script takes: a signature, and the read of a session. No judgement, and no deadline. */
async function signedScript(url: string): ReturnType<Contestant> {
  const tokens = await signIn(managerOn(url), USER_IDS);
  const redis = new Redis(url);
  const lua = `return redis.call('HMGET', KEYS[1], 'v', 'id', ARGV[1], ARGV[1] .. '.a')[2]`;
  redis.defineCommand('readSession', { lua, numberOfKeys: 2 });
  const { readSession } = redis as unknown as { readSession(...args: string[]): Promise<string> };
  const { HmacSha256 } = hmacOfThePackage();
  const hmac = new HmacSha256(Buffer.from(SECRET), 100);
  return async (index) => {
    const token = tokens[index] as string;
    const end = token.lastIndexOf('.');
    const [given, right] = [token.slice(end + 1), hmac.digest(token.slice(0, end))].map((mac) => Buffer.from(mac));
    if (!timingSafeEqual(given as Buffer, right as Buffer)) return undefined;
    const [tag = '', sid = ''] = token.split('.', 2);
    return readSession.call(redis, `session-token:{${tag}}`, `session-user:{${tag}}`, sid);
  };
}

/** Has the managers made from now on sign with Node's own HMAC. */
function signWithCreateHmac(): void {
  class StandardHmac implements Hmac {
    readonly #key: KeyObject;

    constructor(key: Buffer) {
      this.#key = createSecretKey(key);
    }

    digest(text: string): string {
      return createHmac('sha256', this.#key).update(text).digest('base64url');
    }
  }
  const exported = hmacOfThePackage();
  const [key, text] = [Buffer.from(SECRET), 'a text'];
  const macs = [new exported.HmacSha256(key, text.length), new StandardHmac(key)].map((hmac) => hmac.digest(text));
  if (macs[0] !== macs[1]) throw new Error('the ways sign differently');
  exported.HmacSha256 = StandardHmac;
}

/** Not an export of the package. */
function hmacOfThePackage(): { HmacSha256: new (key: Buffer, maxTextBytes: number) => Hmac } {
  return require(join(__dirname, 'node_modules/tokensession/dist/token/hmac.js'));
}

async function touchToken(url: string, options: { cache?: true } = {}): ReturnType<Contestant> {
  const sessions = managerOn(url, {
    getUserInfo: (id: string) => ({ id, name: `The name of ${id}`, email: `${id}@example.com` }),
    userInfoTtl: 3600,
    ...options,
  });
  const tokens = await signIn(sessions, USER_IDS);
  await sessions.refreshUser(USER_IDS);
  return async (index) => {
    const user = (await sessions.touchToken(tokens[index] as string))?.user;
    return user?.detail?.id;
  };
}

/** @param options.cachetime seconds; as long as ours by default. */
async function redisSessions(url: string, options: { cachetime?: number } = {}): ReturnType<Contestant> {
  const sessions = new RedisSessions({ options: { url }, ...options });
  const app = 'bench';
  const created = await Promise.all(USER_IDS.map((id) => sessions.create({ app, id, ip: '192.0.2.1' })));
  return async (index) => (await sessions.get({ app, token: created[index]?.token as string }))?.id;
}

async function main([name = '', url = '']: string[]): Promise<void> {
  const userOf = await contestantNamed(name, CONTESTANTS)(url);
  const check = async (index: number) => {
    const user = await userOf(index);
    if (user !== USER_IDS[index]) throw new Error(`${name} took ${USER_IDS[index]} for ${user}`);
  };
  answerQuestions((question) => (question === 'warm' ? checkAll(check) : callFor(check, question as Question)));
}

/** Fills the caches: other contestants have had their turns. */
async function checkAll(check: (index: number) => Promise<void>): Promise<number> {
  await Promise.all(USER_IDS.map((_, index) => check(index)));
  return SESSIONS;
}

interface Question {
  inFlight: number;
  durationMs: number;
}

async function callFor(call: (index: number) => Promise<void>, { inFlight, durationMs }: Question): Promise<number> {
  let calls = 0;
  const began = performance.now();
  const work = async () => {
    while (performance.now() < began + durationMs) {
      await call(calls++ % SESSIONS);
      if (calls % CALLS_A_TURN === 0) await nextTurn();
    }
  };
  await Promise.all(Array.from({ length: inFlight }, work));
  return calls;
}

main(process.argv.slice(2));

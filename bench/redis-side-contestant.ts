/*
 * One contestant of the Redis side: `redis-side-contestant.ts <name> <Redis URL>`. It makes calls like a service, or
 * sends their recorded bytes as fast as Redis accepts them.
 */
import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { RedisStore as ConnectRedisStore } from 'connect-redis';
import session from 'express-session';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import RedisSessions from 'redis-sessions';
import type { TokenManager } from 'tokensession';
import { answerQuestions } from './child';
import { contestantNamed, type ManagerOptions, managerOn, signIn, TTL, userIds } from './contestants';
import { type PlainCommands, plainReads } from './plain-reads';
import { record, replay, type Turn } from './replay';

const SESSIONS = 1000;
const USER_IDS = userIds(SESSIONS);
const IN_FLIGHT = 16;
const CALLS_A_TURN = 16;

/** `warm` makes a call for each session, `once` for one. `record` records the bytes of all, for `replay`. */
export type Question = { task: 'warm' | 'once' | 'record' } | { task: 'call' | 'replay'; durationMs: number };

/** The results of `call` and `replay`. */
export interface Done {
  calls: number;
  seconds: number;
}

type Call = (index: number) => Promise<string | undefined>;

/** Starts sessions, and returns a function that finds the user of one. */
type Contestant = (url: string) => Promise<Call>;

const CONTESTANTS: Record<string, Contestant> = {
  GET: (url) => plain(url, (redis, key) => redis.get(key)),

  /** The least that reads and slides a session. */
  GETEX: (url) => plain(url, (redis, key) => redis.getex(key, 'EX', TTL)),

  'HMGET + GET': (url) => reads(url, 'HMGET + GET'),
  'HGETEX + GETEX': (url) => reads(url, 'HGETEX + GETEX'),
  HGETEX: (url) => reads(url, 'HGETEX'),

  checkToken: (url) => tokens(url, {}, (sessions, token) => sessions.checkToken(token)),

  touchToken: (url) => tokens(url, {}, (sessions, token) => sessions.touchToken(token)),

  'touchToken, slideEvery 60': (url) =>
    tokens(url, { slideEvery: 60 }, (sessions, token) => sessions.touchToken(token)),

  'checkToken, cached': (url) => tokens(url, { cache: true }, (sessions, token) => sessions.checkToken(token)),

  /** A cached session slides once a minute. */
  'touchToken, cached': (url) => tokens(url, { cache: true }, (sessions, token) => sessions.touchToken(token)),

  /** The calls of express-session on each request, rolling or not. */
  'connect-redis get + touch': async (url) => {
    const client = await createClient({ url }).connect();
    const store = new ConnectRedisStore({ client });
    const ids = USER_IDS.map(() => randomBytes(24).toString('base64url'));
    await Promise.all(
      USER_IDS.map((userId, index) =>
        store.set(ids[index] as string, { cookie: new session.Cookie({ maxAge: TTL * 1000 }), userId }),
      ),
    );
    return async (index) => {
      const id = ids[index] as string;
      const found = (await store.get(id)) as session.SessionData | null;
      if (found !== null) await store.touch(id, found);
      return found?.userId;
    };
  },

  'redis-sessions get': async (url) => {
    const sessions = new RedisSessions({ options: { url } });
    const app = 'bench';
    const created = await Promise.all(USER_IDS.map((id) => sessions.create({ app, id, ip: '192.0.2.1' })));
    return async (index) => (await sessions.get({ app, token: created[index]?.token as string }))?.id;
  },
};

/** Values about as long as those that the others read. */
async function plain(url: string, get: (redis: Redis, key: string) => Promise<string | null>): Promise<Call> {
  const redis = new Redis(url);
  await Promise.all(USER_IDS.map((id, index) => redis.set(`plain:${index}`, id.padEnd(100))));
  return async (index) => (await get(redis, `plain:${index}`))?.trimEnd();
}

async function tokens(
  url: string,
  options: ManagerOptions,
  check: (sessions: TokenManager, token: string) => ReturnType<TokenManager['checkToken']>,
): Promise<Call> {
  const sessions = managerOn(url, options);
  const made = await signIn(sessions, USER_IDS);
  return async (index) => (await check(sessions, made[index] as string))?.user.id;
}

async function reads(url: string, commands: PlainCommands): Promise<Call> {
  return plainReads(url, await signIn(managerOn(url), USER_IDS), commands);
}

async function main([name = '', url = '']: string[]): Promise<void> {
  const contestant = contestantNamed(name, CONTESTANTS);
  const make = async (at: string) => {
    const userOf = await contestant(at);
    return async (index: number) => {
      const user = await userOf(index);
      if (user !== USER_IDS[index]) throw new Error(`${name} took ${USER_IDS[index]} for ${user}`);
    };
  };
  const check = await make(url);
  let turns: Turn[] = [];

  const perform = async (question: Question): Promise<Done | null> => {
    switch (question.task) {
      case 'warm':
        for (let index = 0; index < SESSIONS; index++) await check(index);
        return null;
      case 'once':
        await check(0);
        return null;
      case 'record':
        turns = await record(url, make, SESSIONS, IN_FLIGHT);
        return null;
      case 'call':
        return callFor(check, question.durationMs);
      case 'replay':
        return replay(url, turns, question.durationMs);
    }
  };
  answerQuestions((question) => perform(question as Question));
}

async function callFor(check: (index: number) => Promise<void>, durationMs: number): Promise<Done> {
  let calls = 0;
  const began = performance.now();
  const work = async () => {
    while (performance.now() < began + durationMs) {
      await check(calls++ % SESSIONS);
      // Answers from memory would leave no turn of the event loop for messages from Redis.
      if (calls % CALLS_A_TURN === 0) await nextTurn();
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
  return { calls, seconds: (performance.now() - began) / 1000 };
}

main(process.argv.slice(2));

/*
 * One contestant of the scale part: `scale-contestant.ts <name> <Redis URL>`. It fills Redis with sessions of many
 * users, and then performs operations of services and administrators on random ones, one call at a time.
 */
import { ok, strictEqual } from 'node:assert';
import { randomBytes, randomInt } from 'node:crypto';
import { RedisStore as ConnectRedisStore } from 'connect-redis';
import session from 'express-session';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { idOf } from '../test/support/session-id';
import { answerQuestions } from './child';
import { contestantNamed, managerOn, PATIENT_MS, TTL } from './contestants';
import { quantile } from './quantile';
import { sessionsOf, userId } from './scale-users';
import { copyUsers } from './user-copies';

/** Calls at a time while sessions are started, not while operations are measured. */
const IN_FLIGHT = 400;

export type Operation = 'check' | 'login' | 'list' | 'kick one' | 'kick all';

/**
 * `fill` adds users up to this number. `prepare` picks random users for an operation, `run` performs it on each and
 * returns the times, and `restore` restores the former state.
 */
export type Question =
  | { task: 'fill'; users: number }
  | { task: 'prepare'; operation: Operation; times: number }
  | { task: 'run' | 'restore' };

/** The milliseconds of one operation. */
export interface Times {
  p50: number;
  p99: number;
}

interface Contestant {
  /** Adds users with all their sessions. */
  fill(users: Iterable<number>): Promise<unknown>;
  logIn(user: number): Promise<unknown>;
  /** Prepares the operation for this user. */
  prepare(operation: Operation, user: number): Promise<() => Promise<unknown>>;
  /** The session that `logIn` returned. */
  logOut(login: unknown): Promise<unknown>;
}

const CONTESTANTS: Record<string, (url: string) => Promise<Contestant>> = {
  tokensession: async (url) => {
    const sessions = managerOn(url, {}, PATIENT_MS);
    // Waits for the connection.
    await sessions.health();
    const redis = new Redis(url);
    const logIn = (user: number) => sessions.setToken(userId(user));
    return {
      fill: (users) => copyUsers(redis, sessions, users),
      logIn,
      logOut: (token) => sessions.deleteToken(token as string),
      async prepare(operation, user) {
        const id = userId(user);
        const token = oneOf(await sessions.listUserToken(id));
        const operations: Record<Operation, () => Promise<unknown>> = {
          check: async () => strictEqual((await sessions.checkToken(token))?.user.id, id),
          login: () => logIn(user),
          list: async () => strictEqual((await sessions.listUserSessions(id)).length, sessionsOf(user)),
          'kick one': async () => ok(await sessions.deleteSession(id, idOf(token))),
          'kick all': async () => strictEqual(await sessions.deleteUserToken(id), sessionsOf(user)),
        };
        return operations[operation];
      },
    };
  },

  /** Kicks a user as with connect-redis alone: searches all sessions. */
  'connect-redis': async (url) => {
    const client = await createClient({ url }).connect();
    const store = new ConnectRedisStore({ client });
    const logIn = (user: number) =>
      store.set(randomBytes(24).toString('base64url'), {
        cookie: new session.Cookie({ maxAge: TTL * 1000 }),
        userId: userId(user),
      });
    return {
      fill: (users) => logInAll(logIn, users),
      logIn,
      logOut: async () => undefined,
      async prepare(operation, user) {
        if (operation !== 'kick all') throw new Error(`connect-redis knows no ${operation}`);
        return async () => {
          const all = (await store.all()) as (session.SessionData & { id: string })[];
          const theirs = all.filter((one) => one.userId === userId(user));
          await Promise.all(theirs.map(({ id }) => store.destroy(id)));
          strictEqual(theirs.length, sessionsOf(user));
        };
      },
    };
  },
};

async function main([name = '', url = '']: string[]): Promise<void> {
  const contestant = await contestantNamed(name, CONTESTANTS)(url);
  let users = 0;
  let operation: Operation = 'check';
  let picked: number[] = [];
  let prepared: (() => Promise<unknown>)[] = [];
  let outcomes: unknown[] = [];

  const perform = async (question: Question): Promise<Times | null> => {
    switch (question.task) {
      case 'fill':
        await contestant.fill(rangeOf(users, question.users));
        users = question.users;
        return null;
      case 'prepare':
        operation = question.operation;
        picked = randomUsers(users, question.times);
        prepared = await Promise.all(picked.map((user) => contestant.prepare(operation, user)));
        return null;
      case 'run': {
        outcomes = [];
        const times: number[] = [];
        for (const act of prepared) {
          const began = performance.now();
          outcomes.push(await act());
          times.push(performance.now() - began);
        }
        return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
      }
      case 'restore':
        if (operation === 'login') for (const login of outcomes) await contestant.logOut(login);
        if (operation === 'kick one') for (const user of picked) await contestant.logIn(user);
        if (operation === 'kick all') await logInAll(contestant.logIn, picked);
        return null;
    }
  };
  answerQuestions((question) => perform(question as Question));
}

/** Signs users in, once for each session. */
async function logInAll(logIn: Contestant['logIn'], users: Iterable<number>): Promise<void> {
  const waiting = users[Symbol.iterator]();
  const work = async () => {
    for (let next = waiting.next(); !next.done; next = waiting.next()) {
      for (let count = 0; count < sessionsOf(next.value); count++) await logIn(next.value);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
}

function* rangeOf(from: number, to: number): Generator<number> {
  for (let user = from; user < to; user++) yield user;
}

function randomUsers(users: number, count: number): number[] {
  const picked = new Set<number>();
  while (picked.size < count) picked.add(randomInt(users));
  return [...picked];
}

function oneOf(tokens: readonly string[]): string {
  return tokens[randomInt(tokens.length)] as string;
}

main(process.argv.slice(2));

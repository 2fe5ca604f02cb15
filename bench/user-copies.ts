import { hash, randomFillSync } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { TokenManager } from 'tokensession';
import { sessionsOf, userId } from './scale-users';

const USERS_AT_A_TIME = 500;
/** Scripts in flight: Redis runs one while the next is made. */
const IN_FLIGHT = 4;
const SID_BYTES = 16;
const SID = /^[\w-]{22}$/;

/** Sets hashes with their expiry. ARGV: the expiry in Unix milliseconds; then for each: key, words, fields and values. */
const SET_HASHES = `
local expiresAt = ARGV[1]
local at = 2
while at <= #ARGV do
  local key, words = ARGV[at], tonumber(ARGV[at + 1])
  redis.call('HSET', key, unpack(ARGV, at + 2, at + 1 + words))
  redis.call('PEXPIREAT', key, expiresAt)
  at = at + 2 + words
end`;

/** The hash of a user as a login leaves it. */
interface Original {
  userId: string;
  words: string[];
  expiresAt: number;
}

/**
 * Adds users whose hashes are copies of those of a user who has really signed in as often, with ids and session ids of
 * their own. Fills Redis several times as fast as logins do.
 */
export async function copyUsers(redis: Redis, manager: TokenManager, users: Iterable<number>): Promise<void> {
  const originals = new Map<number, Original>();
  const sending = new Set<Promise<unknown>>();
  let args: string[] = [];
  let count = 0;
  const send = async () => {
    const expiresAt = Math.max(...[...originals.values()].map((original) => original.expiresAt));
    const sent: Promise<unknown> = redis.eval(SET_HASHES, 0, expiresAt, ...args).finally(() => sending.delete(sent));
    sending.add(sent);
    args = [];
    if (sending.size >= IN_FLIGHT) await Promise.race(sending);
  };
  for (const user of users) {
    const sessions = sessionsOf(user);
    const original = originals.get(sessions) ?? (await takeOriginal(redis, manager, sessions));
    originals.set(sessions, original);
    addCopy(args, original, userId(user));
    if (++count % USERS_AT_A_TIME === 0) await send();
  }
  if (args.length > 0) await send();
  await Promise.all(sending);
}

/** Signs a user in this often, and takes the hash out of Redis. */
async function takeOriginal(redis: Redis, manager: TokenManager, sessions: number): Promise<Original> {
  const id = `original-${sessions}`;
  for (let count = 0; count < sessions; count++) await manager.setToken(id);
  const words = Object.entries(await redis.hgetall(keyOf(id))).flat();
  const expiresAt = await redis.pexpiretime(keyOf(id));
  await redis.del(keyOf(id));
  return { userId: id, words, expiresAt };
}

function addCopy(args: string[], original: Original, id: string): void {
  args.push(keyOf(id), String(original.words.length));
  for (const word of original.words) {
    if (word === original.userId) args.push(id);
    else args.push(SID.test(word) ? newSessionId() : word);
  }
}

/** Random bytes for many ids: a call for each would take most of the time. */
const random = Buffer.alloc(1024 * SID_BYTES);
let used = random.length;

function newSessionId(): string {
  if (used === random.length) {
    randomFillSync(random);
    used = 0;
  }
  used += SID_BYTES;
  return random.toString('base64url', used - SID_BYTES, used);
}

/** The key of a user's sessions. */
function keyOf(id: string): string {
  return `session-token:{${hash('sha256', id, 'base64url').slice(0, 22)}}`;
}

import type { Redis } from 'ioredis';
import type { RedisStore, Store } from 'tokensession';
import { VERBS, type Verb } from '../../src/store/store';
import { IS_CLOCK_STEPPED, stepClock } from './stepped-clock';
import type { randomPrefixes } from './stores';

/** Moments, from 2001 to 2033: no duration of a test, and no number in its data, is as large. */
const MOMENTS = { from: 1e12, to: 2e12 };

/**
 * Time that passes for the stores of one test alone. Moves the moments in the test's keys into the past, and the expiry
 * of each key nearer. What the stores give and accept is shifted by the time that has passed, so that it fits to what
 * the test holds: tokens, versions, earlier results. With a stepped clock none of that is necessary.
 */
export class VirtualTime {
  #passedMs = 0;
  readonly #inFlight = new Set<Promise<unknown>>();
  /** Calls wait for it, so that they begin before or after time has passed. */
  #passing = Promise.resolve();

  constructor(
    readonly admin: Redis,
    readonly prefixes: ReturnType<typeof randomPrefixes>,
  ) {}

  async now(): Promise<number> {
    const [seconds, microseconds] = await this.admin.time();
    return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000) + this.#passedMs;
  }

  /** Lets time pass; a negative number sets the clock back. */
  pass(ms: number): Promise<void> {
    if (IS_CLOCK_STEPPED) return stepClock(this.admin, ms);
    this.#passing = this.#move(ms);
    return this.#passing;
  }

  async #move(ms: number): Promise<void> {
    // A write in flight would arrive with its moments unmoved.
    await Promise.allSettled(this.#inFlight);
    await moveRecords(this.admin, this.prefixes, -ms);
    this.#passedMs += ms;
  }

  wrap(store: RedisStore): Store {
    const verbs = (Object.keys(VERBS) as Verb[]).map((verb) => [
      verb,
      async (...args: unknown[]) => {
        const method = store[verb] as (...args: unknown[]) => Promise<unknown>;
        const call = this.#passing.then(() => method.apply(store, moved(args, -this.#passedMs)));
        this.#inFlight.add(call);
        try {
          return moved(await call, this.#passedMs);
        } finally {
          this.#inFlight.delete(call);
        }
      },
    ]);
    return {
      ...(Object.fromEntries(verbs) as Pick<Store, Verb>),
      follow: (follower, options) => store.follow(follower, options),
      tags: () => store.tags(),
      health: () => store.health(),
      close: () => store.close(),
    };
  }
}

/** The same value with all moments in it later by this many milliseconds. */
function moved<Value>(value: Value, ms: number): Value {
  if (ms === 0) return value;
  if (typeof value === 'number') return (value >= MOMENTS.from && value < MOMENTS.to ? value + ms : value) as Value;
  if (Array.isArray(value)) return value.map((one) => moved(one, ms)) as Value;
  if (typeof value !== 'object' || value === null || value instanceof Map) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, moved(one, ms)])) as Value;
}

/**
 * Makes all moments under these prefixes later by this many milliseconds, and the keys expire as much later; or sets the
 * clock of the server back by as much.
 */
export async function moveRecords(
  admin: Redis,
  { tokenKeyPrefix, userKeyPrefix }: ReturnType<typeof randomPrefixes>,
  ms: number,
): Promise<void> {
  if (IS_CLOCK_STEPPED) return stepClock(admin, -ms);
  await admin.eval(MOVE_RECORDS, 0, tokenKeyPrefix, userKeyPrefix, ms);
}

/** The grammar of the records is in src/redis/schema.ts. A moment has 13 digits. */
const MOVE_RECORDS = `
local token_prefix, user_prefix, ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function moved(moments, rest)
  local function later(digits)
    if #digits == 13 then return string.format('%.0f', digits + ms) end
  end
  return string.gsub(moments, '%d+', later) .. rest
end

local function expire_later(key)
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, math.max(0, left + ms)) end
end

for _, key in ipairs(redis.call('KEYS', token_prefix .. ':{*}')) do
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    local moments, rest
    if field == 'ban' then moments, rest = string.match(value, '^(%d+:%d+:)(.*)$')
    elseif #field == 22 then
      moments, rest = string.match(value, '^(ended:%d+:)(.*)$')
      if not moments then moments, rest = string.match(value, '^[%d:]+$'), '' end
    end
    if moments then redis.call('HSET', key, field, moved(moments, rest)) end
  end
  expire_later(key)
end

for _, key in ipairs(redis.call('KEYS', user_prefix .. ':{*}')) do
  local moments, rest = string.match(redis.call('GET', key), '^(%d+:%d+:)(.*)$')
  if moments then
    redis.call('SET', key, moved(moments, rest), 'KEEPTTL')
    expire_later(key)
  end
end
`;

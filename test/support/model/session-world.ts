import { createHash, createHmac } from 'node:crypto';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { MemoryStore, RedisStore, SessionError, type Store, TokenManager } from 'tokensession';
import { EVENT_NAMES } from '../../../src/manager/session-events';
import { scaleSeconds } from '../scaled-seconds';
import { PATIENT, randomPrefixes } from '../stores';
import { VirtualTime } from '../virtual-time';
import { type ManagerRules, type ModelEvent, type ModelToken, type SessionModel, VISITOR } from './session-model';

/** Each verifies what the other signs. */
const SECRETS = ['the first of two secrets, with enough to it', 'and this is the second, which is no shorter'] as const;

/** A token as clients have it, and its claims. */
export interface IssuedToken extends ModelToken {
  token: string;
}

/** A load of a user's info that has begun. */
interface BegunLoad {
  userId: string;
  version: number;
}

/** How time passes for a store, and how exactly it can be read. */
interface WorldClock {
  readonly msPerSecond: number;
  /** The longest time that a call may take, in milliseconds: a run with a longer one is discarded. */
  readonly slackMs: number;
  /** Seconds that a step waits at most for a share of the grace. */
  readonly longestWait: number;
  now(): Promise<number>;
  pass(ms: number): Promise<void>;
}

export interface Outcome {
  gives?: unknown;
  /** The code of the SessionError, if the call rejected with one. */
  rejects?: string | undefined;
  events: ModelEvent[];
}

/** The real implementation: two managers with separate clients, on the same sessions. */
export class SessionWorld {
  readonly managers: readonly TokenManager[];
  readonly tokens: IssuedToken[] = [];
  readonly loads: BegunLoad[] = [];
  readonly #stores: readonly Store[];
  readonly #events: ModelEvent[] = [];
  #uncertaintyMs = 0;

  /** @param heldData the ids of the sessions whose data the store holds, if that is visible from outside. */
  constructor(
    stores: readonly [Store, Store],
    readonly clock: WorldClock,
    readonly rules: readonly [ManagerRules, ManagerRules],
    readonly heldData: () => Promise<string[]>,
  ) {
    this.#stores = stores.map((store) => scaleSeconds(store, clock.msPerSecond));
    this.managers = this.#stores.map((store, index) => {
      const secret = index === 0 ? SECRETS : SECRETS.toReversed();
      const { absoluteTtl, maxSessionsPerDevice, ...given } = rules[index] as ManagerRules;
      const manager = new TokenManager({
        ...given,
        store,
        secret,
        ...(absoluteTtl !== null && { absoluteTtl }),
        ...(maxSessionsPerDevice !== null && { maxSessionsPerDevice }),
      });
      for (const name of EVENT_NAMES) {
        manager.on(name, (event) => this.#events.push([name, event] as ModelEvent));
      }
      return manager;
    });
  }

  /** How much a time in a result may exceed that of the model: the longest time that a call has taken. */
  get uncertaintyMs(): number {
    return this.#uncertaintyMs;
  }

  /** A token signed like this manager's, made without the package. */
  signed(manager: number, { userId, id, gen, mintedAt, provedAt }: ModelToken): string {
    const signed = [
      userId === VISITOR ? id : tagOf(userId),
      id,
      ...[gen, mintedAt, provedAt].map((number) => number.toString(36)),
    ].join('.');
    const mac = createHmac('sha256', SECRETS[manager] as string).update(signed);
    return `${signed}.${mac.digest('base64url')}`;
  }

  /** Adds a token to those that later steps choose from, and returns it with its claims. */
  issue(userId: string, token: string): IssuedToken {
    const [, id, ...numbers] = token.split('.') as [string, string, string, string, string, string];
    const [gen, mintedAt, provedAt] = numbers.slice(0, 3).map((text) => Number.parseInt(text, 36));
    const issued = { userId, id, gen, mintedAt, provedAt, token } as IssuedToken;
    this.tokens.push(issued);
    return issued;
  }

  /**
   * Makes a call at a moment when no timed change is near, and passes that moment to the model. Discards a run whose
   * call took so long that something may have changed.
   *
   * @param moments further moments at which the result of this call changes.
   */
  async call(
    model: SessionModel,
    index: number,
    act: (manager: TokenManager, store: Store) => Promise<unknown>,
    moments: readonly number[] = [],
  ): Promise<Outcome> {
    const { slackMs } = this.clock;
    await this.#untilNothingIsNear(model, moments);
    this.#events.length = 0;
    let outcome: Omit<Outcome, 'events'>;
    try {
      outcome = { gives: await act(this.managers[index] as TokenManager, this.#stores[index] as Store) };
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      outcome = { rejects: error.code };
    }
    const tookMs = (await this.clock.now()) - model.now;
    fc.pre(tookMs <= slackMs);
    this.#uncertaintyMs = Math.max(this.#uncertaintyMs, tookMs);
    return { ...outcome, events: this.#events.splice(0) };
  }

  async #untilNothingIsNear(model: SessionModel, moments: readonly number[]): Promise<void> {
    const { slackMs } = this.clock;
    for (;;) {
      model.now = await this.clock.now();
      if (slackMs === 0) return;
      const all = [...model.moments(this.rules), ...moments];
      const near = all.filter((moment) => Math.abs(moment - model.now) <= slackMs + 1);
      if (near.length === 0) return;
      await this.clock.pass(Math.max(...near) + slackMs + 2 - model.now);
    }
  }
}

/** The tag of a user, made without the package. */
export function tagOf(userId: string): string {
  return createHash('sha256').update(userId).digest('base64url').slice(0, 22);
}

/** Opened for one property, and shared by all its runs. */
export interface WorldFixture {
  open(rules: readonly [ManagerRules, ManagerRules]): Promise<SessionWorld>;
  close(world: SessionWorld): Promise<void>;
}

export function memoryWorlds(): WorldFixture {
  return {
    async open(rules) {
      let now = 1_700_000_000_000;
      const store = new MemoryStore({ now: () => now });
      const clock: WorldClock = {
        msPerSecond: 1000,
        slackMs: 0,
        longestWait: 25,
        now: async () => now,
        pass: async (ms) => {
          now += ms;
        },
      };
      return new SessionWorld([store, store], clock, rules, async () => []);
    },
    close: async (world) => {
      for (const manager of world.managers) await manager.close();
    },
  };
}

/** Seconds are long, since the time of Redis goes on during a call. */
export const WAITING = { msPerSecond: 60_000, longestWait: 25, slackMs: 2000 };
/** No step waits. */
export const NOT_WAITING = { msPerSecond: 1000, longestWait: 0, slackMs: 2000 };

/** @param admin another client of that Redis. */
export function redisWorlds(url: string, admin: Redis, pace: typeof WAITING): WorldFixture {
  return {
    async open(rules) {
      const prefixes = randomPrefixes();
      const time = new VirtualTime(admin, prefixes);
      const clock: WorldClock = { ...pace, now: () => time.now(), pass: (ms) => time.pass(Math.ceil(ms)) };
      const open = () => time.wrap(new RedisStore(url, { ...PATIENT, ...prefixes }));
      return new SessionWorld([open(), open()], clock, rules, async () => {
        const fields = (await admin.keys(`${prefixes.tokenKeyPrefix}:*`)).map((key) => admin.hkeys(key));
        return (await Promise.all(fields)).flat().flatMap((field) => /^(.{22})\.d$/.exec(field)?.[1] ?? []);
      });
    },
    close: async (world) => {
      await Promise.all(world.managers.map((manager) => manager.close()));
    },
  };
}
